//! Whether AMX can be used: the CPU must have it, the system must save its registers, and Linux must be asked.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Leaf 7's EDX: AMX-BF16, AMX-TILE and AMX-INT8.
const TILES: u32 = 1 << 22 | 1 << 24 | 1 << 25;
/// Leaf 1's ECX: the system has turned `xgetbv` on.
const OSXSAVE: u32 = 1 << 27;
/// What the system saves of a thread: the tiles' shapes and their contents.
const TILE_STATE: u32 = 1 << 17 | 1 << 18;

/// Whether this process may use tiles; asks the system for them at the first call.
pub fn usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| has_tiles() && permitted())
}

fn has_tiles() -> bool {
    let saves = __cpuid(0).eax >= 7 && __cpuid(1).ecx & OSXSAVE != 0;
    let tiles = saves && __cpuid_count(7, 0).edx & TILES == TILES && saved() & TILE_STATE == TILE_STATE;
    tiles && is_x86_feature_detected!("avx512bf16")
}

/// What the system saves of a thread.
fn saved() -> u32 {
    let low: u32;
    // SAFETY: the caller has seen that the system has turned `xgetbv` on. It reads a register.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack, preserves_flags)) };
    low
}

/// Linux saves 8 KB more for each thread that has used tiles, and wants to be asked once by a process. It refuses where a thread's stack for
/// signals would be too small for them.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const SYS_ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let result: isize;
    // SAFETY: a call to the system that takes two numbers and touches none of the process's memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
