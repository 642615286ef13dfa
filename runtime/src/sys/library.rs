use super::libc;
use crate::native::abi::{self, Bytes, Descriptor, Text, Weights};
use crate::{Error, Result};
use std::ffi::{CStr, CString, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

/// Elements of one of a descriptor's lists, and bytes of one of its texts.
const MAX_COUNT: u64 = 1 << 20;

/// A native artifact that the system has loaded. Loading is trusting: that its descriptor's pointers lead to what
/// `tcrt_model.h` says is the artifact's promise, on which everything here rests.
pub(crate) struct Library {
    handle: NonNull<c_void>,
    model: Descriptor,
}

// SAFETY: the descriptor and what it points to never change; `dlclose` may be called from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Loads the shared object at `path`, which is absolute, so that it is never searched for in the system's library folders.
    /// Finds its descriptor, of which only magic number and size are checked.
    pub fn open(path: &Path) -> Result<Library> {
        let name =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid_argument("a zero in a path"))?;
        // SAFETY: `name` ends in a zero. The shared object's initialisers run, which is what trusting it means.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        let handle = NonNull::new(handle).ok_or_else(failed)?;
        let symbol = CString::new(abi::SYMBOL).unwrap_or_default();
        // SAFETY: a handle that dlopen just gave, and a name that ends in a zero.
        let found = unsafe { libc::dlsym(handle.as_ptr(), symbol.as_ptr()) };
        // SAFETY: the symbol is the descriptor.
        let model = NonNull::new(found).ok_or_else(failed).and_then(|model| unsafe { read_model(model.cast()) });
        match model {
            Ok(model) => Ok(Library { handle, model }),
            Err(error) => {
                // SAFETY: the handle is ours and nothing of the library is kept.
                unsafe { libc::dlclose(handle.as_ptr()) };
                Err(error)
            }
        }
    }

    pub fn model(&self) -> &Descriptor {
        &self.model
    }

    /// Names of the kernels that the code calls, and the sizes of their arguments.
    pub fn kernels(&self) -> Result<Vec<(String, u64)>> {
        // SAFETY: the type's promise.
        let needs = unsafe { list(self.model.kernels, u64::from(self.model.kernel_count), "kernels")? };
        needs.iter().map(|need| Ok((text(need.name, "kernels")?, need.args_size))).collect()
    }

    pub fn metadata(&self) -> Result<Vec<(String, String)>> {
        // SAFETY: the type's promise.
        let pairs = unsafe { list(self.model.metadata, self.model.metadata_count, "metadata")? };
        pairs.iter().map(|pair| Ok((text(pair.key, "metadata")?, text(pair.value, "metadata")?))).collect()
    }

    pub fn stop_tokens(&self) -> Result<Vec<u32>> {
        // SAFETY: the type's promise.
        let tokens = unsafe { list(self.model.stop_tokens, u64::from(self.model.stop_token_count), "stop tokens")? };
        Ok(tokens.to_vec())
    }

    pub fn tokenizer(&self) -> &[u8] {
        self.blob(self.model.tokenizer)
    }

    pub fn chat(&self) -> &[u8] {
        self.blob(self.model.chat)
    }

    pub fn weights_inside(&self) -> bool {
        !self.model.weights.data.is_null()
    }

    /// The weights inside the library.
    pub fn weights(&self) -> &[u8] {
        let Weights { data, size, .. } = self.model.weights;
        match data.is_null() {
            true => &[],
            // SAFETY: the type's promise, and the borrow of self keeps the library loaded.
            false => unsafe { std::slice::from_raw_parts(data, size as usize) },
        }
    }

    /// The name of the file that has the weights, where they are not inside.
    pub fn weights_file(&self) -> Result<String> {
        text(self.model.weights.file, "weights")
    }

    fn blob(&self, bytes: Bytes) -> &[u8] {
        // SAFETY: the type's promise, and the borrow of self keeps the library loaded.
        unsafe { list(bytes.data.cast(), bytes.size, "bytes") }.unwrap_or_default()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: a handle from dlopen, closed once; nothing borrowed from the library outlives it.
        unsafe { libc::dlclose(self.handle.as_ptr()) };
    }
}

/// # Safety
/// `model` leads to a descriptor, or to an object of at least 16 bytes.
unsafe fn read_model(model: NonNull<Descriptor>) -> Result<Descriptor> {
    // SAFETY: promised by the caller; the first fields tell whether the others are there.
    let (magic, size) =
        unsafe { ((&raw const (*model.as_ptr()).magic).read(), (&raw const (*model.as_ptr()).size).read()) };
    if magic != abi::MAGIC {
        return Err(Error::invalid_file(format!("{}: the magic number is wrong", abi::SYMBOL)));
    }
    let least = Descriptor::LEAST_BYTES;
    if (size as usize) < least {
        let message = format!("{}: {size} bytes, fewer than a descriptor's {least}", abi::SYMBOL);
        return Err(Error::invalid_file(message));
    }
    let mut whole = MaybeUninit::<Descriptor>::zeroed();
    let bytes = size_of::<Descriptor>().min(size as usize);
    // SAFETY: both have so many bytes. Fields that an older artifact does not have stay zero; every field may have any bits but the
    // functions, which are null or functions.
    Ok(unsafe {
        model.as_ptr().cast::<u8>().copy_to_nonoverlapping(whole.as_mut_ptr().cast(), bytes);
        whole.assume_init()
    })
}

/// # Safety
/// `data` is null, or `count` elements lie there that live for `'a`.
unsafe fn list<'a, T>(data: *const T, count: u64, what: &str) -> Result<&'a [T]> {
    match count {
        0 => Ok(&[]),
        _ if data.is_null() || !data.is_aligned() => Err(Error::invalid_file(format!("{what}: a bad pointer"))),
        _ if count > MAX_COUNT * 1024 => Err(Error::invalid_file(format!("{what}: {count} are too many"))),
        // SAFETY: promised by the caller.
        _ => Ok(unsafe { std::slice::from_raw_parts(data, count as usize) }),
    }
}

fn text(text: Text, what: &str) -> Result<String> {
    // SAFETY: texts come from descriptors, whose promise this is.
    let bytes: &[u8] = unsafe { list(text.data.cast(), text.size, what)? };
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|_| Error::invalid_file(format!("{what}: a text that is not UTF-8")))
}

/// What the system says went wrong.
fn failed() -> Error {
    // SAFETY: dlerror gives null or a text that is this thread's until its next call.
    let message = unsafe {
        let message = libc::dlerror();
        if message.is_null() {
            "no reason given".to_owned()
        } else {
            CStr::from_ptr(message).to_string_lossy().into_owned()
        }
    };
    Error::invalid_file(format!("the system cannot load it: {}", message.replace('\n', " ")))
}
