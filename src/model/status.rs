//! The place of a session or a client in the status lists, draft-ietf-oauth-status-list. Knows no bit and no token.

/// An index that every token of one session, or of one client by itself, carries. It is handed out once, ever; the
/// token is revoked with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusIndex(u64);

impl StatusIndex {
    /// How many there are: they fit into five bytes.
    pub const END: u64 = 1 << 40;
    /// How many one list holds.
    pub const PER_LIST: u32 = 1 << 20;

    /// The index of this number, which is less than [`Self::END`].
    pub const fn new(number: u64) -> Option<Self> {
        if number < Self::END { Some(Self(number)) } else { None }
    }

    /// The index at `idx` of `list`; both are less than 2^20.
    pub const fn in_list(list: u32, idx: u32) -> Option<Self> {
        if idx >= Self::PER_LIST {
            return None;
        }
        Self::new(list as u64 * Self::PER_LIST as u64 + idx as u64)
    }

    /// Its number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The list it is in.
    pub const fn list(self) -> u32 {
        (self.0 / Self::PER_LIST as u64) as u32
    }

    /// Its place in that list.
    pub const fn idx(self) -> u32 {
        (self.0 % Self::PER_LIST as u64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_a_list_and_a_place_in_it() {
        let last = StatusIndex::new(StatusIndex::END - 1).expect("there");
        let next = StatusIndex::new(1 << 20).expect("there");

        assert_eq!((last.list(), last.idx()), ((1 << 20) - 1, (1 << 20) - 1));
        assert_eq!((next.list(), next.idx()), (1, 0));
        assert_eq!(StatusIndex::in_list(1, 0), Some(next));
        assert_eq!(StatusIndex::in_list(0, 1 << 20), None);
        assert_eq!(StatusIndex::in_list(1 << 20, 0), None);
        assert_eq!(StatusIndex::new(StatusIndex::END), None);
    }
}
