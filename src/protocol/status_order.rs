//! In which order the indexes of a list are handed out: one that only this server knows.
//!
//! draft-ietf-oauth-status-list §12.4 and §12.5.1: indexes in the order of issuance would tell everybody who sees two tokens how
//! many logins lay between them.

use aws_lc_rs::hmac;

use crate::model::status::StatusIndex;

/// Half of the bits of a place in a list.
const HALF: u32 = 10;
const MASK: u32 = (1 << HALF) - 1;
/// Luby and Rackoff's four, and as many again because the halves are so short.
const ROUNDS: u8 = 8;

/// A keyed permutation of the places of each list, a balanced Feistel network: nothing is handed out twice.
pub struct StatusOrder(hmac::Key);

impl StatusOrder {
    /// Takes a key derived for this purpose alone.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The index that is handed out as the one with this number; `None` if there are not so many.
    pub fn place(&self, number: u64) -> Option<StatusIndex> {
        let in_order = StatusIndex::new(number)?;
        let (mut left, mut right) = (in_order.idx() >> HALF, in_order.idx() & MASK);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.mix(in_order.list(), round, right));
        }
        StatusIndex::in_list(in_order.list(), left << HALF | right)
    }

    fn mix(&self, list: u32, round: u8, half: u32) -> u32 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&list.to_be_bytes());
        context.update(&[round]);
        context.update(&half.to_be_bytes());
        let tag = context.sign();
        let [high, low, ..] = tag.as_ref() else { unreachable!("HMAC-SHA-256 has 32 bytes") };
        u32::from(u16::from_be_bytes([*high, *low])) & MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_of_a_list_is_handed_out_once_and_in_no_order() {
        let order = StatusOrder::new(&[1; 32]);
        let mut seen = vec![false; StatusIndex::PER_LIST as usize];
        let (mut ascending, mut last) = (0, 0);

        for number in 0..u64::from(StatusIndex::PER_LIST) {
            let index = order.place(number + (5 << 20)).expect("there");
            assert_eq!(index.list(), 5);
            assert!(!std::mem::replace(&mut seen[index.idx() as usize], true), "handed out twice");
            ascending += usize::from(index.idx() > last);
            last = index.idx();
        }

        let share = ascending as f64 / f64::from(StatusIndex::PER_LIST);
        assert!((0.49..0.51).contains(&share), "{share} of the steps go up");
        assert_eq!(order.place(StatusIndex::END), None);
    }

    #[test]
    fn each_key_and_each_list_has_its_own_order() {
        let first = |key: u8, list: u64| {
            let order = StatusOrder::new(&[key; 32]);
            (0..4).map(|n| order.place((list << 20) + n).expect("there").idx()).collect::<Vec<_>>()
        };

        assert_eq!(first(1, 0), first(1, 0));
        assert_ne!(first(1, 0), first(2, 0));
        assert_ne!(first(1, 0), first(1, 1));
    }
}
