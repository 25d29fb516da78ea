//! The allocator: free lists of a few sizes, and the kernel's pages for what is larger.
//!
//! An agent holds little and for long, and now and then something large for a moment. So small blocks come from one page
//! at a time, in powers of two, and go back to the list of their size; large ones are mapped, and unmapped when they go.

use super::call::call;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};
use linux_raw_sys::general::{__NR_mmap, __NR_munmap, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE};

/// The smallest block is 16 bytes, the largest 32 KiB.
const SMALLEST: u32 = 4;
const CLASSES: usize = 12;
const LARGEST: usize = 1 << (SMALLEST as usize + CLASSES - 1);
/// What is taken from the kernel for small blocks.
const CHUNK: usize = 64 * 1024;
/// Alignment of a mapping.
const PAGE: usize = 4096;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(UnsafeCell::new(Lists { free: [None; CLASSES], next: 0, end: 0 }));

struct Allocator(UnsafeCell<Lists>);

// SAFETY: this program has one thread; a fork of it has a copy of everything.
unsafe impl Sync for Allocator {}

struct Lists {
    /// The first free block of each size; a free block holds the pointer to the next one.
    free: [Option<NonNull<Block>>; CLASSES],
    /// The rest of the current chunk.
    next: usize,
    end: usize,
}

struct Block {
    next: Option<NonNull<Block>>,
}

/// Which list, for a size of at most [`LARGEST`].
fn class(size: usize) -> usize {
    (size.max(1 << SMALLEST).next_power_of_two().trailing_zeros() - SMALLEST) as usize
}

fn map(size: usize) -> *mut u8 {
    let (protection, flags) = ((PROT_READ | PROT_WRITE) as usize, (MAP_PRIVATE | MAP_ANONYMOUS) as usize);
    // SAFETY: asks for fresh memory anywhere; no descriptor.
    let mapped = unsafe { call(__NR_mmap, [0, size, protection, flags, usize::MAX, 0]) };
    mapped.map_or(null_mut(), core::ptr::with_exposed_provenance_mut)
}

// SAFETY: blocks of a list are of the list's size and in nobody's hands; fresh ones are cut from a chunk once; mapped ones
// are the kernel's. Blocks of a power of two are aligned to their size, as chunks are to pages, so every alignment up to
// the size is kept; larger alignments than a page are refused.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size().max(layout.align());
        if layout.align() > PAGE {
            return null_mut();
        }
        if size > LARGEST {
            return map(size);
        }
        let class = class(size);
        // SAFETY: one thread, and nothing below calls back into the allocator.
        let lists = unsafe { &mut *self.0.get() };
        if let Some(block) = lists.free[class] {
            // SAFETY: a free block holds its successor, written when it was freed.
            lists.free[class] = unsafe { block.as_ref() }.next;
            return block.as_ptr().cast();
        }
        let size = 1 << (SMALLEST as usize + class);
        // Chunks are aligned to pages, so blocks are to their size up to a page.
        let start = lists.next.next_multiple_of(size.min(PAGE));
        if start + size > lists.end {
            let chunk = map(CHUNK).expose_provenance();
            if chunk == 0 {
                return null_mut();
            }
            (lists.next, lists.end) = (chunk + size, chunk + CHUNK);
            return core::ptr::with_exposed_provenance_mut(chunk);
        }
        lists.next = start + size;
        core::ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let size = layout.size().max(layout.align());
        if size > LARGEST {
            // SAFETY: it was mapped with this size, and the caller gives it up.
            let _ = unsafe { call(__NR_munmap, [block.expose_provenance(), size, 0, 0, 0, 0]) };
            return;
        }
        let class = class(size);
        // SAFETY: one thread, and nothing below calls back into the allocator.
        let lists = unsafe { &mut *self.0.get() };
        if let Some(block) = NonNull::new(block.cast::<Block>()) {
            // SAFETY: the caller gives the block up; it has at least 16 bytes, aligned to 16.
            unsafe { block.write(Block { next: lists.free[class] }) };
            lists.free[class] = Some(block);
        }
    }
}
