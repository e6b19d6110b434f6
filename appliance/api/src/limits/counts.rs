//! How much of something is open at a time, in all and for each who opened it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// He has all that he may.
    His,
    /// All are taken.
    All,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    /// Who has none is not in it.
    each: HashMap<K, usize>,
}

/// Places that can be taken.
#[derive(Debug)]
pub(crate) struct Counts<K> {
    most: usize,
    each: usize,
    taken: Mutex<Taken<K>>,
}

impl<K: Eq + Hash + Clone> Counts<K> {
    pub(crate) fn new(most: usize, each: usize) -> Arc<Counts<K>> {
        Arc::new(Counts { most, each, taken: Mutex::new(Taken { all: 0, each: HashMap::new() }) })
    }

    /// Takes a place, which is free again when what this gives is dropped. `None`: one that is nobody's in particular.
    pub(crate) fn take(self: &Arc<Self>, who: Option<K>) -> Result<Place<K>, Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.most {
            return Err(Full::All);
        }
        if let Some(who) = &who {
            let his = taken.each.entry(who.clone()).or_default();
            if *his >= self.each {
                return Err(Full::His);
            }
            *his += 1;
        }
        taken.all += 1;
        Ok(Place { counts: self.clone(), who })
    }

    /// Places that are taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

/// A place that is taken.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash + Clone> {
    counts: Arc<Counts<K>>,
    who: Option<K>,
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.counts.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(who) = &self.who
            && let Some(his) = taken.each.get_mut(who)
        {
            *his -= 1;
            if *his == 0 {
                taken.each.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_cannot_take_what_is_anothers() {
        let counts = Counts::new(3, 2);
        let (first, _second) = (counts.take(Some('a')).expect("free"), counts.take(Some('a')).expect("free"));
        assert_eq!(counts.take(Some('a')).err(), Some(Full::His));
        let _third = counts.take(Some('b')).expect("free");
        assert_eq!(counts.take(None).err(), Some(Full::All));
        drop(first);
        assert!(counts.take(Some('a')).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_given_back_leaves_nothing(steps in proptest::collection::vec((0_u8..4, any::<bool>()), 0..200)) {
            let counts = Counts::new(6, 3);
            let mut open = Vec::new();
            for (who, give_back) in steps {
                if give_back && !open.is_empty() {
                    open.swap_remove(usize::from(who) % open.len());
                } else if let Ok(place) = counts.take(Some(who)) {
                    open.push(place);
                }
                prop_assert_eq!(counts.taken(), open.len());
                prop_assert!(open.len() <= 6);
                for who in 0..4 {
                    prop_assert!(open.iter().filter(|place| place.who == Some(who)).count() <= 3);
                }
            }
            drop(open);
            let taken = counts.taken.lock().expect("not poisoned");
            prop_assert!(taken.all == 0 && taken.each.is_empty());
        }
    }
}
