//! Byte strings across the boundary: lending ([`Bytes`]), giving away ([`give`]) and receiving ([`Received`]).

use std::ffi::c_void;
use std::ptr;

use super::raw::{Buf, Bytes};

impl Bytes {
    /// No bytes.
    pub const EMPTY: Self = Self {
        ptr: ptr::null(),
        len: 0,
    };

    /// Lends `bytes` for the duration of a call.
    #[must_use]
    pub const fn lend(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The lent bytes; `None` when the pointer is null although a length is given, or there are more than `cap`.
    ///
    /// # Safety
    /// `ptr` is null or points to `len` bytes that stay readable and unchanged for `'a` (R2).
    #[must_use]
    pub unsafe fn borrow<'a>(self, cap: usize) -> Option<&'a [u8]> {
        if self.len == 0 {
            return Some(&[]);
        }
        if self.ptr.is_null() || self.len > cap {
            return None;
        }
        // SAFETY: not null, and the caller vouches for `len` bytes; `cap` keeps the length below `isize::MAX`.
        Some(unsafe { std::slice::from_raw_parts(self.ptr, self.len.min(isize::MAX as usize)) })
    }
}

impl Buf {
    /// No bytes; nothing to release.
    pub const EMPTY: Self = Self {
        ptr: ptr::null(),
        len: 0,
        owner: ptr::null_mut(),
        release: None,
    };
}

/// Gives `bytes` to the other side, which returns them through `release` exactly once (R3).
#[must_use]
pub fn give(bytes: Vec<u8>) -> Buf {
    if bytes.is_empty() {
        return Buf::EMPTY;
    }
    let owner = Box::new(bytes);
    let (ptr, len) = (owner.as_ptr(), owner.len());
    Buf {
        ptr,
        len,
        owner: Box::into_raw(owner).cast::<c_void>(),
        release: Some(release_vec),
    }
}

extern "C" fn release_vec(owner: *mut c_void, _ptr: *const u8, _len: usize) {
    if !owner.is_null() {
        // SAFETY: `owner` is the box that `give` turned into a pointer, and by R3 it comes back once.
        drop(unsafe { Box::from_raw(owner.cast::<Vec<u8>>()) });
    }
}

/// A buffer received from the other side; released when dropped.
#[derive(Debug)]
pub struct Received(Buf);

impl Received {
    /// # Safety
    /// `buf` is owned by the caller and obeys R3; only the caller releases it.
    #[must_use]
    pub unsafe fn new(buf: Buf) -> Self {
        Self(buf)
    }

    /// The bytes, or how many there claim to be when that is more than `cap` or they are nowhere.
    pub fn bytes(&self, cap: usize) -> Result<&[u8], usize> {
        let Buf { ptr, len, .. } = self.0;
        // SAFETY: `new` vouched for the buffer, which stays unchanged until it is released in `drop`.
        unsafe { Bytes { ptr, len }.borrow(cap) }.ok_or(len)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(release) = self.0.release.take() {
            release(self.0.owner, self.0.ptr, self.0.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_arrives_and_comes_back() {
        // SAFETY: `give` produced the buffers and they are received once.
        let received = unsafe { Received::new(give(b"abc".to_vec())) };
        assert_eq!(received.bytes(3), Ok(&b"abc"[..]));
        assert_eq!(received.bytes(2), Err(3));
        // SAFETY: as above.
        assert_eq!(unsafe { Received::new(give(vec![])) }.bytes(0), Ok(&[][..]));
    }

    #[test]
    fn a_length_without_a_pointer_is_refused() {
        let nowhere = Buf { len: 7, ..Buf::EMPTY };
        // SAFETY: the buffer owns nothing, and its null pointer is never followed.
        assert_eq!(unsafe { Received::new(nowhere) }.bytes(100), Err(7));
        let nowhere = Bytes {
            ptr: ptr::null(),
            len: 1,
        };
        // SAFETY: the pointer is null.
        assert_eq!(unsafe { nowhere.borrow(100) }, None);
    }
}
