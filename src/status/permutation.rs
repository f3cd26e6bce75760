//! Which bit of its list a position is: scattered, so that neighbouring numbers say nothing about who came when
//! (draft-ietf-oauth-status-list §12: an index must not tell a user apart).

use crate::secret::Digest;

/// Half of the bits of an index, and a mask of as many.
const HALF: u32 = 10;
const MASK: u32 = (1 << HALF) - 1;
/// Rounds of the network.
const ROUNDS: u8 = 8;

/// What scatters the positions of one list: a Feistel network over 20 bits under the list's own random key. Every index is
/// that of exactly one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permutation(pub [u8; 16]);

impl Permutation {
    /// The index of the position whose last 20 bits these are.
    pub fn index(&self, position: u32) -> u32 {
        let (mut left, mut right) = ((position >> HALF) & MASK, position & MASK);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.mix(round, right));
        }
        (left << HALF) | right
    }

    fn mix(&self, round: u8, half: u32) -> u32 {
        let mut input = [0; 21];
        let (key, rest) = input.split_at_mut(16);
        key.copy_from_slice(&self.0);
        let (number, value) = rest.split_at_mut(1);
        number.fill(round);
        value.copy_from_slice(&half.to_le_bytes());
        let digest = Digest::sha256(&input);
        let [first, second, ..] = digest.as_bytes();
        u32::from(u16::from_le_bytes([*first, *second])) & MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_has_an_index_of_its_own_and_neighbours_are_far_apart() {
        let permutation = Permutation([7; 16]);
        let mut seen = vec![false; 1 << 20];
        for position in 0..1 << 20 {
            let index = permutation.index(position) as usize;
            assert!(!std::mem::replace(&mut seen[index], true), "{index} twice");
        }
        let indices: Vec<u32> = (0..1000).map(|position| permutation.index(position)).collect();
        let close = indices.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 1000).count();
        assert!(close < 20, "{close} of 999 neighbours are close together");
        assert_ne!(Permutation([8; 16]).index(1), permutation.index(1));
    }
}
