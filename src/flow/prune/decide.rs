//! What stays and what goes among committed backups, and why.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::prune::report::Group;
use crate::flow::prune::retention::Retention;

/// A committed backup as far as the decision needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Id.
    pub backup: String,
    /// When it began, ms UTC.
    pub started_ms: i64,
    /// The backups that rules count it with; those without one are counted together.
    pub group: Option<Group>,
    /// The backup that it adds to.
    pub parent: Option<String>,
    /// Backups that it needs, where its manifest cannot be read.
    pub needs: Vec<String>,
    /// Why its manifest cannot be read.
    pub damaged: Option<String>,
    /// Why it cannot be restored although its manifest reads.
    pub broken: Option<String>,
}

/// The decision on all candidates.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Which candidates can be restored, with all that they add to.
    pub restorable: Vec<bool>,
    /// Why each candidate stays, in their order; none: it goes.
    pub reasons: Vec<Vec<String>>,
    /// What somebody should read.
    pub warnings: Vec<String>,
    /// The candidates that go, by position, each before the backups that it adds to.
    pub removals: Vec<usize>,
}

/// Decides. Without rules every backup stays. Rules choose among the backups of a group that can be restored; the others
/// count for none, and go only with `remove_broken`, when they are older than the newest one of their group that can be
/// restored (of all groups, where the manifest does not say which is theirs). What an unfinished backup that stays needs,
/// stays: `needed` has its id behind the one that it needs.
pub fn decide(
    candidates: &[Candidate],
    needed: &[(&str, &str)],
    rules: Option<&Retention>,
    remove_broken: bool,
    now_ms: i64,
) -> Decisions {
    let mut reasons = vec![Vec::new(); candidates.len()];
    let mut warnings = Vec::new();
    let places: BTreeMap<&str, usize> =
        candidates.iter().enumerate().map(|(at, candidate)| (candidate.backup.as_str(), at)).collect();
    let restorable: Vec<bool> =
        candidates.iter().map(|candidate| is_restorable(candidate, candidates, &places)).collect();
    let (whole, broken): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|at| restorable.get(*at) == Some(&true));
    let age = |at: &usize| candidates.get(*at).map(|candidate| (candidate.started_ms, &candidate.backup));
    let group = |at: usize| candidates.get(at).and_then(|candidate| candidate.group.as_ref());
    let mut groups: BTreeMap<Option<&Group>, Vec<usize>> = BTreeMap::new();
    for at in whole.iter().copied() {
        groups.entry(group(at)).or_default().push(at);
    }
    for members in groups.values() {
        apply_rules(candidates, members, rules, now_ms, &mut reasons);
        if let Some(newest) = members.iter().copied().max_by_key(age) {
            add(&mut reasons, newest, "newest restorable");
        }
    }
    if whole.is_empty() && !candidates.is_empty() {
        warnings.push("no backup of this repository can be restored completely; make a new one".to_string());
    }
    for at in broken {
        // A window stands for others of its selection alone.
        let is_window = |newer: usize| group(newer).is_some_and(|group| group.window.is_some());
        let of_group = |newer: &&usize| group(at) == group(**newer) || group(at).is_none() && !is_window(**newer);
        let outlived = whole.iter().filter(of_group).any(|newer| age(&at) < age(newer));
        if !(remove_broken && rules.is_some() && outlived) {
            let damaged = candidates.get(at).is_some_and(|candidate| candidate.damaged.is_some());
            let what = if damaged { "manifest damaged" } else { "cannot be restored" };
            add(&mut reasons, at, &format!("{what}: no rule removes it"));
        }
    }
    for (backup, by) in needed {
        if let Some(place) = places.get(backup) {
            add(&mut reasons, *place, &format!("needed by the unfinished {by}"));
        }
    }
    for (at, candidate) in candidates.iter().enumerate() {
        for place in candidate.needs.iter().filter_map(|needs| places.get(needs.as_str())) {
            if reasons.get(at).is_some_and(|why| !why.is_empty()) {
                add(&mut reasons, *place, &format!("needed by {}, whose manifest is damaged", candidate.backup));
            }
        }
    }
    keep_ancestors(candidates, &places, &mut reasons);
    let removals = removal_order(candidates, &places, &reasons);
    Decisions { restorable, reasons, warnings, removals }
}

fn apply_rules(
    candidates: &[Candidate],
    restorable: &[usize],
    rules: Option<&Retention>,
    now_ms: i64,
    reasons: &mut [Vec<String>],
) {
    let times: Vec<(String, i64)> =
        restorable.iter().filter_map(|at| candidates.get(*at)).map(|c| (c.backup.clone(), c.started_ms)).collect();
    let kept = match rules {
        Some(rules) => rules.reasons(&times, now_ms),
        None => vec![vec!["--only-unfinished removes no committed backup".to_string()]; times.len()],
    };
    for (at, why) in restorable.iter().zip(kept) {
        if let Some(reasons) = reasons.get_mut(*at) {
            reasons.extend(why);
        }
    }
}

/// A backup with all that it adds to.
fn chain<'a>(from: usize, candidates: &'a [Candidate], places: &BTreeMap<&str, usize>) -> Vec<&'a Candidate> {
    let (mut chain, mut seen, mut next) = (Vec::new(), BTreeSet::new(), Some(from));
    while let Some(candidate) = next.filter(|at| seen.insert(*at)).and_then(|at| candidates.get(at)) {
        chain.push(candidate);
        next = candidate.parent.as_deref().and_then(|parent| places.get(parent)).copied();
    }
    chain
}

fn is_restorable(candidate: &Candidate, candidates: &[Candidate], places: &BTreeMap<&str, usize>) -> bool {
    let Some(at) = places.get(candidate.backup.as_str()) else { return false };
    let chain = chain(*at, candidates, places);
    let whole = chain.last().is_some_and(|oldest| oldest.parent.is_none());
    whole && chain.iter().all(|link| link.damaged.is_none() && link.broken.is_none())
}

fn keep_ancestors(candidates: &[Candidate], places: &BTreeMap<&str, usize>, reasons: &mut [Vec<String>]) {
    let kept: Vec<usize> =
        (0..candidates.len()).filter(|at| reasons.get(*at).is_some_and(|why| !why.is_empty())).collect();
    for at in kept {
        for link in chain(at, candidates, places).windows(2) {
            if let [child, parent] = link
                && let Some(place) = places.get(parent.backup.as_str())
            {
                add(reasons, *place, &format!("parent of {}", child.backup));
            }
        }
    }
}

/// Children before their parents, so that an interrupted prune leaves no child alone; else the oldest first.
fn removal_order(candidates: &[Candidate], places: &BTreeMap<&str, usize>, reasons: &[Vec<String>]) -> Vec<usize> {
    let mut gone: Vec<usize> = (0..candidates.len()).filter(|at| reasons.get(*at).is_some_and(Vec::is_empty)).collect();
    gone.sort_by_key(|at| {
        let depth = chain(*at, candidates, places).len();
        (
            std::cmp::Reverse(depth),
            candidates.get(*at).map(|candidate| (candidate.started_ms, candidate.backup.clone())),
        )
    });
    gone
}

fn add(reasons: &mut [Vec<String>], at: usize, reason: &str) {
    if let Some(why) = reasons.get_mut(at).filter(|why| !why.iter().any(|known| known == reason)) {
        why.push(reason.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(id: &str, hour: i64) -> Candidate {
        let started_ms = hour * 3_600_000;
        Candidate {
            backup: id.into(),
            started_ms,
            group: None,
            parent: None,
            needs: Vec::new(),
            damaged: None,
            broken: None,
        }
    }

    fn child(id: &str, hour: i64, parent: &str) -> Candidate {
        Candidate { parent: Some(parent.into()), ..backup(id, hour) }
    }

    fn broken(id: &str, hour: i64) -> Candidate {
        Candidate { broken: Some("a file is missing".into()), ..backup(id, hour) }
    }

    fn damaged(id: &str, hour: i64) -> Candidate {
        Candidate { damaged: Some("edited".into()), ..backup(id, hour) }
    }

    fn last(count: u64) -> Retention {
        Retention { last: count, ..Retention::default() }
    }

    fn removed(candidates: &[Candidate], rules: &Retention) -> (Vec<String>, Decisions) {
        let decisions = decide(candidates, &[], Some(rules), false, i64::MAX);
        (decisions.removals.iter().map(|at| candidates[*at].backup.clone()).collect(), decisions)
    }

    #[test]
    fn without_rules_nothing_goes() {
        let candidates = [backup("a", 1), broken("b", 2), damaged("c", 3)];
        assert_eq!(decide(&candidates, &[], None, true, 0).removals, [0; 0]);
        assert_eq!(decide(&[], &[], Some(&last(1)), false, 0), Decisions::default());
    }

    #[test]
    fn what_no_rule_keeps_goes_the_oldest_first() {
        let candidates = [backup("c", 3), backup("a", 1), backup("d", 4), backup("b", 2)];
        let (gone, decisions) = removed(&candidates, &last(1));
        assert_eq!(gone, ["a", "b", "c"]);
        assert_eq!(decisions.reasons[2], ["last 1", "newest restorable"]);
        assert!(decisions.warnings.is_empty());
    }

    #[test]
    fn rules_choose_among_restorable_backups_and_broken_ones_never_count() {
        let candidates = [backup("a", 1), backup("b", 2), broken("c", 3), broken("d", 4)];
        let (gone, decisions) = removed(&candidates, &last(2));
        assert_eq!(gone, [""; 0]);
        assert_eq!(decisions.reasons[0], ["last 2"]);
        assert_eq!(decisions.reasons[3], ["cannot be restored: no rule removes it"]);
        let (gone, decisions) = removed(&candidates, &last(1));
        assert_eq!((gone, decisions.reasons[1].concat()), (vec!["a".into()], "last 1newest restorable".into()));
        let (gone, decisions) = removed(&[broken("c", 3), broken("d", 4)], &last(1));
        assert_eq!(gone, [""; 0]);
        assert!(decisions.warnings[0].contains("no backup of this repository can be restored"));
    }

    #[test]
    fn broken_backups_go_on_demand_once_a_newer_one_can_be_restored() {
        let candidates = [broken("a", 1), damaged("b", 2), backup("c", 3), broken("d", 4)];
        let decisions = decide(&candidates, &[], Some(&last(1)), true, i64::MAX);
        assert_eq!(decisions.removals, [0, 1], "d is newer than all that can be restored");
        assert_eq!(decide(&candidates[..2], &[], Some(&last(1)), true, i64::MAX).removals, [0; 0]);
    }

    fn of(cluster: &str, tables: &[&str], candidate: Candidate) -> Candidate {
        let tables = tables.iter().map(ToString::to_string).collect();
        Candidate { group: Some(Group { cluster_id: Some(cluster.into()), tables, window: None }), ..candidate }
    }

    #[test]
    fn rules_count_each_cluster_and_each_set_of_tables_apart() {
        let candidates = [
            of("one", &["t"], backup("a", 1)),
            of("two", &["t"], backup("b", 2)),
            of("one", &["t"], backup("c", 3)),
            of("one", &["t", "u"], backup("d", 4)),
            of("one", &["t"], backup("e", 5)),
        ];
        let (gone, decisions) = removed(&candidates, &last(2));
        assert_eq!(gone, ["a"]);
        assert_eq!(decisions.reasons[1], ["last 1", "newest restorable"]);
        assert_eq!(decisions.reasons[2], ["last 2"]);
        let together: Vec<Candidate> =
            candidates.iter().cloned().map(|candidate| Candidate { group: None, ..candidate }).collect();
        assert_eq!(removed(&together, &last(2)).0, ["a", "b", "c"]);
    }

    #[test]
    fn a_broken_backup_is_outlived_by_one_of_its_group_only() {
        let candidates =
            [of("one", &["t"], broken("a", 1)), of("two", &["t"], broken("b", 2)), of("one", &["t"], backup("c", 3))];
        let decisions = decide(&candidates, &[], Some(&last(1)), true, i64::MAX);
        assert_eq!(decisions.removals, [0], "{decisions:?}");
    }

    #[test]
    fn a_window_outlives_windows_of_its_selection_only() {
        let window = |candidate: Candidate| {
            let group = Group { cluster_id: None, tables: Vec::new(), window: Some("all metrics".into()) };
            Candidate { group: Some(group), ..candidate }
        };
        // Full backups without groups, and a manifest that cannot be read.
        let candidates = [broken("a", 1), damaged("b", 2), window(broken("c", 3)), window(backup("d", 4))];
        assert_eq!(decide(&candidates, &[], Some(&last(1)), true, i64::MAX).removals, [2]);
    }

    #[test]
    fn a_damaged_manifest_neither_goes_nor_counts() {
        let candidates = [damaged("a", 1), backup("b", 2), damaged("c", 3), backup("d", 4)];
        let (gone, decisions) = removed(&candidates, &last(1));
        assert_eq!(gone, ["b"]);
        assert!(decisions.reasons[0][0].contains("damaged") && decisions.reasons[2][0].contains("damaged"));
    }

    #[test]
    fn every_ancestor_of_what_stays_stays() {
        let candidates = [
            backup("a", 1),
            child("b", 2, "a"),
            child("c", 3, "b"),
            backup("x", 4),
            child("y", 5, "x"),
            child("d", 6, "c"),
        ];
        let (gone, decisions) = removed(&candidates, &last(1));
        assert_eq!(gone, ["y", "x"], "a child goes before its parent");
        assert_eq!(decisions.reasons[0], ["parent of b"]);
        assert_eq!(decisions.reasons[2], ["parent of d"]);
        let of_damaged = [backup("a", 1), Candidate { needs: vec!["a".into()], ..damaged("b", 2) }, backup("c", 3)];
        assert_eq!(removed(&of_damaged, &last(1)).0, [""; 0], "a damaged child keeps its parent too");
        assert_eq!(decide(&of_damaged, &[], Some(&last(1)), true, i64::MAX).removals, [0, 1], "one that goes, none");
        let decisions = decide(&of_damaged[..1], &[("a", "u")], Some(&last(1)), false, i64::MAX);
        assert!(decisions.reasons[0].contains(&"needed by the unfinished u".to_owned()));
        let needed = [backup("a", 1), child("b", 2, "a"), backup("c", 3)];
        assert_eq!(decide(&needed, &[("b", "u")], Some(&last(1)), false, i64::MAX).removals, [0; 0]);
        assert_eq!(decide(&needed, &[], Some(&last(1)), false, i64::MAX).removals, [1, 0]);
    }

    #[test]
    fn a_child_without_its_parent_is_not_restorable() {
        let orphan = [backup("a", 1), child("b", 2, "lost")];
        let (gone, decisions) = removed(&orphan, &last(1));
        assert!(gone.is_empty() && decisions.reasons[0] == ["last 1", "newest restorable"], "{decisions:?}");
        let on_broken = [backup("a", 1), broken("b", 2), child("c", 3, "b")];
        assert!(removed(&on_broken, &last(1)).0.is_empty());
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let circle = [child("a", 1, "b"), child("b", 2, "a"), child("c", 3, "c")];
        let (gone, decisions) = removed(&circle, &last(1));
        assert_eq!(gone, [""; 0], "none of them can be restored, so no rule removes them");
        assert_eq!(decisions.warnings.len(), 1);
    }
}
