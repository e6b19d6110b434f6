//! Nodes grouped by something, and inside a group by their creation.
//!
//! In: keys with places. Out: the places of one key, or of all keys in the keys' order, from any place on. Persistent:
//! a clone costs a pointer.

use crate::id::NodeId;
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use std::ops::Bound;

/// Where a node stands among all: by its creation.
pub type Place = (Timestamp, NodeId);

/// The places of one key, never none.
#[derive(Clone, Debug)]
enum Group {
    /// A set of one would take half a kilobyte, and many keys have one node.
    One(Place),
    Many(OrdSet<Place>),
}

impl Group {
    fn len(&self) -> usize {
        match self {
            Group::One(_) => 1,
            Group::Many(places) => places.len(),
        }
    }

    fn range(&self, bounds: (Bound<Place>, Bound<Place>)) -> impl DoubleEndedIterator<Item = Place> {
        let (one, many) = match self {
            Group::One(place) => (Some(*place).filter(|place| std::ops::RangeBounds::contains(&bounds, place)), None),
            Group::Many(places) => (None, Some(places.range(bounds).copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// Places by key.
#[derive(Clone, Debug)]
pub struct Grouped<K: Ord>(OrdMap<K, Group>);

impl<K: Ord> Default for Grouped<K> {
    fn default() -> Grouped<K> {
        Grouped(OrdMap::default())
    }
}

impl<K: Ord + Clone> Grouped<K> {
    pub fn insert(&mut self, key: K, place: Place) {
        match self.0.get_mut(&key) {
            None => {
                self.0.insert(key, Group::One(place));
            }
            Some(Group::Many(places)) => {
                places.insert(place);
            }
            Some(group) => {
                if let Group::One(other) = *group
                    && other != place
                {
                    *group = Group::Many(OrdSet::from_iter([other, place]));
                }
            }
        }
    }

    pub fn remove(&mut self, key: &K, place: Place) {
        let emptied = match self.0.get_mut(key) {
            None => false,
            Some(Group::One(other)) => *other == place,
            Some(Group::Many(places)) => {
                places.remove(&place);
                places.is_empty()
            }
        };
        if emptied {
            self.0.remove(key);
        }
    }

    /// How many places the key has.
    pub fn count(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, Group::len)
    }

    /// The places of one key, oldest first, from the one after `after` on.
    pub fn of<'a>(&'a self, key: &K, after: Option<Place>) -> impl Iterator<Item = Place> + use<'a, K> {
        let bounds = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.0.get(key).into_iter().flat_map(move |group| group.range(bounds))
    }

    /// The same backwards, from the one before `before` on.
    pub fn of_before<'a>(&'a self, key: &K, before: Option<Place>) -> impl Iterator<Item = Place> + use<'a, K> {
        let bounds = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
        self.0.get(key).into_iter().flat_map(move |group| group.range(bounds).rev())
    }

    /// The keys from this one on, with how many places each has.
    pub fn counts<'a>(&'a self, from: &K) -> impl Iterator<Item = (&'a K, usize)> + use<'a, K> {
        self.0.range::<_, K>(from..).map(|(key, group)| (key, group.len()))
    }

    /// All places by key and creation, from the one after `after` on.
    pub fn ascending<'a>(&'a self, after: Option<(&K, Place)>) -> impl Iterator<Item = Place> + use<'a, K> {
        let start = after.map(|(_, place)| place);
        let rest =
            self.0.range::<_, K>((after.map_or(Bound::Unbounded, |(key, _)| Bound::Excluded(key)), Bound::Unbounded));
        let first = after.and_then(|(key, _)| self.0.get(key)).into_iter();
        first
            .flat_map(move |group| group.range((start.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)))
            .chain(rest.flat_map(|(_, group)| group.range((Bound::Unbounded, Bound::Unbounded))))
    }

    /// The same backwards, from the one before `before` on.
    pub fn descending<'a>(&'a self, before: Option<(&K, Place)>) -> impl Iterator<Item = Place> + use<'a, K> {
        let end = before.map(|(_, place)| place);
        let rest =
            self.0.range::<_, K>((Bound::Unbounded, before.map_or(Bound::Unbounded, |(key, _)| Bound::Excluded(key))));
        let first = before.and_then(|(key, _)| self.0.get(key)).into_iter();
        first
            .flat_map(move |group| group.range((Bound::Unbounded, end.map_or(Bound::Unbounded, Bound::Excluded))).rev())
            .chain(rest.rev().flat_map(|(_, group)| group.range((Bound::Unbounded, Bound::Unbounded)).rev()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn place(number: u8) -> Place {
        (Timestamp::UNIX_EPOCH, NodeId(Uuid::from_u128(number.into())))
    }

    proptest! {
        /// What a sorted set of pairs would say, whatever came and went.
        #[test]
        fn it_is_a_sorted_set_of_pairs(
            steps in proptest::collection::vec((0..4_u8, 0..8_u8, any::<bool>()), 0..60), key in 0..5_u8, at in 0..9_u8,
        ) {
            let (mut grouped, mut pairs) = (Grouped::default(), BTreeSet::new());
            for (key, number, keep) in steps {
                if keep {
                    grouped.insert(key, place(number));
                    pairs.insert((key, place(number)));
                } else {
                    grouped.remove(&key, place(number));
                    pairs.remove(&(key, place(number)));
                }
            }
            let here = (key, place(at));
            let places = |found: Vec<&(u8, Place)>| found.into_iter().map(|(_, place)| *place).collect::<Vec<_>>();
            let later = places(pairs.range((Bound::Excluded(here), Bound::Unbounded)).collect());
            prop_assert_eq!(grouped.ascending(Some((&key, here.1))).collect::<Vec<_>>(), later);
            let earlier = places(pairs.range(..here).rev().collect());
            prop_assert_eq!(grouped.descending(Some((&key, here.1))).collect::<Vec<_>>(), earlier);
            prop_assert_eq!(grouped.ascending(None).collect::<Vec<_>>(), places(pairs.iter().collect()));
            prop_assert_eq!(grouped.descending(None).collect::<Vec<_>>(), places(pairs.iter().rev().collect()));
            let own: Vec<_> = pairs.iter().filter(|(of, _)| *of == key).collect();
            prop_assert_eq!(grouped.count(&key), own.len());
            prop_assert_eq!(grouped.of(&key, None).collect::<Vec<_>>(), places(own.clone()));
            let before: Vec<_> = own.iter().rev().filter(|(_, place)| *place < here.1).copied().collect();
            prop_assert_eq!(grouped.of_before(&key, Some(here.1)).collect::<Vec<_>>(), places(before));
            let after: Vec<_> = own.into_iter().filter(|(_, place)| *place > here.1).collect();
            prop_assert_eq!(grouped.of(&key, Some(here.1)).collect::<Vec<_>>(), places(after));
            let counted: usize = grouped.counts(&0).map(|(_, count)| count).sum();
            prop_assert_eq!(counted, pairs.len());
        }
    }
}
