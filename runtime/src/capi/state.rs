use super::handle;
use super::memory::{Buffer, list, path};
use super::session::{SessionCell, tcrt_session};
use super::status::{call, tcrt_status};
use std::ffi::c_char;

/// Writes what the session holds to a file, to go on from later. The file appears complete or not at all. One call at a time for each
/// session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_save(session: *mut tcrt_session, path: *const c_char) -> tcrt_status {
    call("tcrt_session_save", || {
        // SAFETY: this function's contract, as the header states it.
        let file = unsafe { self::path(path)? };
        Ok(handle::get::<SessionCell>(session)?.lock()?.session.save_file(file)?)
    })
}

/// Replaces what the session holds by what a session of the same model saved. The file is checked completely; where it is refused, the
/// session is as it was. One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_restore(session: *mut tcrt_session, path: *const c_char) -> tcrt_status {
    call("tcrt_session_restore", || {
        // SAFETY: this function's contract, as the header states it.
        let file = unsafe { self::path(path)? };
        Ok(handle::get::<SessionCell>(session)?.lock()?.session.restore_file(file)?)
    })
}

/// As tcrt_session_save, to memory. `*size` becomes the bytes of the state; buffers are as for tcrt_tokenize. One call at a time for each
/// session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_save_memory(
    session: *mut tcrt_session,
    data: *mut u8,
    capacity: usize,
    size: *mut usize,
) -> tcrt_status {
    call("tcrt_session_save_memory", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Buffer::new(data, capacity, size)? };
        let cell = handle::get::<SessionCell>(session)?;
        let session = &cell.lock()?.session;
        out.fill_with(session.state_bytes()?, |state| Ok(session.save(state)?))
    })
}

/// As tcrt_session_restore, from memory. One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_restore_memory(
    session: *mut tcrt_session,
    data: *const u8,
    size: usize,
) -> tcrt_status {
    call("tcrt_session_restore_memory", || {
        // SAFETY: this function's contract, as the header states it.
        let state = unsafe { list("data", data, size)? };
        Ok(handle::get::<SessionCell>(session)?.lock()?.session.restore(state)?)
    })
}
