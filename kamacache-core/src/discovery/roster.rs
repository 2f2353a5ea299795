//! Which of the listed nodes are members now. Pure: it is told what happened
//! and when, and answers with the members.
//!
//! A member that is missing from the list stays for a grace while it answers
//! (S28); this node has no grace before its first listing (S4). One that said
//! goodbye is out at once, until it greets again as another incarnation; a list
//! of nobody changes nothing (S27).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) struct Roster {
    grace: Duration,
    me: Option<String>,
    /// A list has come; until then this node is its only member.
    has_list: bool,
    listed: BTreeSet<String>,
    /// No longer listed, and since when.
    missing: BTreeMap<String, Instant>,
    /// Said goodbye, as this incarnation.
    left: BTreeMap<String, u64>,
}

impl Roster {
    /// One member, until a list comes; or none.
    pub(crate) fn new(me: Option<String>, grace: Duration) -> Self {
        Self {
            grace,
            listed: me.iter().cloned().collect(),
            me,
            has_list: false,
            missing: BTreeMap::new(),
            left: BTreeMap::new(),
        }
    }

    /// A whole list by the user: it stands as it is.
    pub(crate) fn set(&mut self, list: impl IntoIterator<Item = String>) {
        self.listed = list.into_iter().collect();
        self.has_list = true;
        self.missing.clear();
        self.left.retain(|member, _| self.listed.contains(member));
    }

    /// A whole list by discovery: who is missing gets a grace.
    pub(crate) fn list(&mut self, now: Instant, list: impl IntoIterator<Item = String>) {
        let listed: BTreeSet<String> = list.into_iter().collect();
        if listed.is_empty() {
            return;
        }
        for gone in self.listed.difference(&listed) {
            let is_unlisted = !self.has_list && Some(gone) == self.me.as_ref();
            if !is_unlisted && !self.left.contains_key(gone) {
                self.missing.insert(gone.clone(), now);
            }
        }
        self.missing.retain(|member, _| !listed.contains(member));
        self.left.retain(|member, _| listed.contains(member));
        self.listed = listed;
        self.has_list = true;
    }

    pub(crate) fn goodbye(&mut self, member: &str, incarnation: u64) {
        self.missing.remove(member);
        if self.listed.contains(member) {
            self.left.insert(member.to_owned(), incarnation);
        }
    }

    /// A node has greeted; whether that brings it back.
    pub(crate) fn greeted(&mut self, member: &str, incarnation: u64) -> bool {
        let back = self
            .left
            .get(member)
            .is_some_and(|left| *left != incarnation);
        if back {
            self.left.remove(member);
        }
        back
    }

    /// Ends the grace of those whose time is over or who do not answer.
    pub(crate) fn look(&mut self, now: Instant, is_suspect: impl Fn(&str) -> bool) {
        let grace = self.grace;
        self.missing
            .retain(|member, since| now - *since < grace && !is_suspect(member));
    }

    pub(crate) fn members(&self) -> Vec<String> {
        let listed = self.listed.iter();
        let members: BTreeSet<&String> = listed
            .filter(|member| !self.left.contains_key(*member))
            .chain(self.missing.keys())
            .collect();
        members.into_iter().cloned().collect()
    }

    /// Those in their grace.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &str> {
        self.missing.keys().map(String::as_str)
    }

    /// Those that said goodbye and are still listed, and as whom: they may
    /// come back.
    pub(crate) fn left(&self) -> impl Iterator<Item = (&str, u64)> {
        let left = self.left.iter();
        left.map(|(member, incarnation)| (member.as_str(), *incarnation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn roster(list: &[&str]) -> (Roster, Instant) {
        let mut roster = Roster::new(Some("me".into()), GRACE);
        roster.set(list.iter().map(ToString::to_string));
        (roster, Instant::now())
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn s27_a_list_of_nobody_changes_nothing() {
        let (mut roster, now) = roster(&["a", "me"]);
        roster.list(now, names(&[]));
        assert_eq!(roster.members(), ["a", "me"]);
    }

    #[test]
    fn s28_a_short_absence_changes_nothing_and_a_long_one_removes() {
        let (mut roster, now) = roster(&["a", "b", "me"]);
        roster.list(now, names(&["b", "me"]));
        roster.look(now + GRACE / 2, |_| false);
        assert_eq!(roster.members(), ["a", "b", "me"]);
        roster.list(now + GRACE / 2, names(&["a", "b", "me"]));
        roster.look(now + 2 * GRACE, |_| false);
        assert_eq!(roster.members(), ["a", "b", "me"], "it was back in time");
        roster.list(now + 2 * GRACE, names(&["b", "me"]));
        roster.look(now + 3 * GRACE, |_| false);
        assert_eq!(roster.members(), ["b", "me"], "it answers, but too long");
    }

    #[test]
    fn s28_a_missing_member_that_does_not_answer_goes_at_once() {
        let (mut roster, now) = roster(&["a", "b", "me"]);
        roster.list(now, names(&["me"]));
        roster.look(now, |member| member == "a");
        assert_eq!(roster.members(), ["b", "me"]);
    }

    #[test]
    fn s28_a_member_that_said_goodbye_is_out_until_it_greets_anew() {
        let (mut roster, now) = roster(&["a", "b", "me"]);
        roster.goodbye("a", 7);
        assert_eq!(roster.members(), ["b", "me"]);
        assert!(!roster.greeted("a", 7), "the same one, still leaving");
        roster.list(now, names(&["a", "b", "me"]));
        assert_eq!(roster.members(), ["b", "me"], "the list lags behind");
        assert!(roster.greeted("a", 8));
        assert_eq!(roster.members(), ["a", "b", "me"]);
        roster.goodbye("a", 8);
        roster.list(now, names(&["b", "me"]));
        roster.list(now, names(&["a", "b", "me"]));
        assert_eq!(roster.members(), ["a", "b", "me"], "listed again");
        roster.goodbye("stranger", 1);
        assert_eq!(roster.members(), ["a", "b", "me"]);
    }

    #[test]
    fn s04_a_node_that_was_never_listed_has_no_grace() {
        let now = Instant::now();
        let mut roster = Roster::new(Some("me".into()), GRACE);
        roster.list(now, names(&["a", "b"]));
        assert_eq!(roster.members(), ["a", "b"]);
        roster.list(now, names(&["a", "b", "me"]));
        roster.list(now, names(&["a", "b"]));
        assert_eq!(roster.members(), ["a", "b", "me"], "as the others have it");
        roster.look(now + GRACE, |_| false);
        assert_eq!(roster.members(), ["a", "b"]);
    }

    #[test]
    fn a_list_by_the_user_stands_at_once() {
        let (mut roster, _) = roster(&["a", "b", "me"]);
        roster.set(names(&["me"]));
        assert_eq!(roster.members(), ["me"]);
        assert_eq!(roster.missing().count(), 0);
    }
}
