//! Handles are numbers that are never used twice, so a stale one is recognised whatever the caller does with it.

use super::status::tcrt_status::TCRT_INVALID_HANDLE;
use super::status::{Outcome, fail};
use std::any::Any;
use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Arc, RwLock};

type Object = Arc<dyn Any + Send + Sync>;

struct Table {
    last: usize,
    live: BTreeMap<usize, Object>,
}

static TABLE: RwLock<Table> = RwLock::new(Table { last: 0, live: BTreeMap::new() });

/// What stands behind a handle of the C type `Handle`.
pub trait Behind: Any + Send + Sync + Sized {
    type Handle;
    const NAME: &'static str;
}

pub fn new<T: Behind>(object: T) -> *mut T::Handle {
    let mut table = TABLE.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    table.last += 1;
    let number = table.last;
    table.live.insert(number, Arc::new(object));
    ptr::without_provenance_mut(number)
}

/// The object stays alive for as long as the result, even when the handle is freed meanwhile.
pub fn get<T: Behind>(handle: *mut T::Handle) -> Outcome<Arc<T>> {
    let table = TABLE.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let object = table.live.get(&handle.addr()).cloned();
    object.and_then(|object| object.downcast().ok()).map_or_else(|| invalid::<T, _>(handle), Ok)
}

/// Frees a handle; NULL is nothing to free. The object goes when the last call that uses it returns.
pub fn free<T: Behind>(handle: *mut T::Handle) -> Outcome {
    if handle.is_null() {
        return Ok(());
    }
    drop(get::<T>(handle)?);
    let removed = TABLE.write().unwrap_or_else(|poisoned| poisoned.into_inner()).live.remove(&handle.addr());
    // Dropped here, where the table is not locked: what goes with it may take its time.
    removed.map_or_else(|| invalid::<T, _>(handle), |_| Ok(()))
}

fn invalid<T: Behind, R>(handle: *mut T::Handle) -> Outcome<R> {
    match handle.is_null() {
        true => fail(TCRT_INVALID_HANDLE, format!("the {} is NULL", T::NAME)),
        false => fail(TCRT_INVALID_HANDLE, format!("this is no {} (it may have been freed)", T::NAME)),
    }
}
