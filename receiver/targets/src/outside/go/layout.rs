//! Where versions of Go keep things: offsets as their own debug information tells them, the same for x86-64 and arm64.

/// Bytes of the runtime's pages, whatever the machine's are.
pub(super) const PAGE: u64 = 8192;

/// Offsets of one version, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// In `gcControllerState`: `heapMarked`.
    pub(super) marked: u64,
    /// In it: `maxStackScan`, what stacks of goroutines take up.
    pub(super) stacks: u64,
    /// In it: `mappedReady`.
    pub(super) ready: u64,
    /// In `mheap`: `allspans`, a slice.
    pub(super) spans: u64,
    pub(super) span: Span,
    pub(super) goroutine: Goroutine,
}

/// In an `mspan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// `startAddr`, and behind it `npages`.
    pub(super) start: u64,
    /// `allocCount`, two bytes.
    pub(super) live: usize,
    /// `state`, one byte.
    pub(super) state: usize,
    /// `elemsize`.
    pub(super) size: usize,
    /// `allocBits`, a pointer.
    pub(super) bits: usize,
}

impl Span {
    /// `sweepgen`, four bytes.
    pub(super) fn sweeps(self) -> usize {
        self.live - 8
    }
}

/// In a `g`, which begins with its stack's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Goroutine {
    /// `atomicstatus`, four bytes.
    pub(super) status: usize,
    /// `gopc`: where the statement that started it returned to.
    pub(super) started_at: usize,
}

impl Goroutine {
    /// `goid`.
    pub(super) fn number(self) -> u64 {
        self.status as u64 + 8
    }
}

const V1_26: Layout = Layout {
    marked: 152,
    stacks: 136,
    ready: 312,
    spans: 65_864,
    span: Span { start: 24, live: 96, state: 99, size: 104, bits: 64 },
    goroutine: Goroutine { status: 144, started_at: 288 },
};

const V1_25: Layout = Layout { goroutine: Goroutine { status: 144, started_at: 280 }, ..V1_26 };

const V1_24: Layout = Layout { goroutine: Goroutine { status: 152, started_at: 288 }, ..V1_25 };

const V1_22: Layout = Layout { goroutine: Goroutine { status: 144, started_at: 280 }, ..V1_24 };

const V1_21: Layout =
    Layout { span: Span { start: 24, live: 104, state: 107, size: 112, bits: 72 }, ..V1_22 };

const V1_20: Layout = Layout {
    marked: 128,
    stacks: 112,
    ready: 288,
    spans: 65_824,
    span: Span { bits: 72, ..V1_22.span },
    goroutine: Goroutine { status: 144, started_at: 296 },
};

impl Layout {
    /// In `gcControllerState`: `heapInUse`, what spans with objects take up.
    pub(super) fn in_use(&self) -> u64 {
        self.ready - 40
    }

    /// Of the heap at this address: `pagesInUse`, the same in pages.
    pub(super) fn pages_in_use(&self, heap: u64) -> Option<u64> {
        heap.checked_add(self.spans + 24)
    }

    /// Of the heap at this address: `sweepgen`, four bytes, which counts two for each collection.
    pub(super) fn sweeps(&self, heap: u64) -> Option<u64> {
        heap.checked_add(self.spans - 8)
    }

    /// Of Go 1.`minor`.
    pub(super) fn of(minor: u8) -> Option<Self> {
        match minor {
            20 => Some(V1_20),
            21 => Some(V1_21),
            22 => Some(V1_22),
            23 | 24 => Some(V1_24),
            25 => Some(V1_25),
            26 => Some(V1_26),
            _ => None,
        }
    }
}
