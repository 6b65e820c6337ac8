use super::*;
use crate::codec::row_key::build;

fn uid(n: u8, width: usize) -> Vec<u8> {
    [vec![0; width - 1], vec![n]].concat()
}

/// Keys of 60 series, an hour each, from this hour on.
fn keys(layout: &KeyLayout, first_hour: u32) -> Vec<Vec<u8>> {
    let widths = [layout.metric_width, layout.tagk_width, layout.tagv_width].map(usize::from);
    let key = |n: u8| {
        let tsuid = [uid(n, widths[0]), uid(n % 7 + 1, widths[1]), uid(n, widths[2])].concat();
        let mut key = Vec::new();
        assert!(build(&tsuid, 1_356_998_400 + (first_hour + u32::from(n)) * 3600, layout, &mut key));
        key
    };
    (1..=60).map(key).collect()
}

fn sample(layout: &KeyLayout) -> (UidFacts, UidNames, Vec<Vec<u8>>) {
    let (mut facts, mut names) = (UidFacts::default(), UidNames::new());
    let widths = [layout.metric_width, layout.tagk_width, layout.tagv_width].map(usize::from);
    for n in 1..=60 {
        for kind in UidKind::ALL {
            let width = widths[kind as usize];
            names.insert(kind, &uid(n, width), &format!("n{n}"));
            facts.widths[kind as usize].entry(width).or_default()[0] += 1;
        }
    }
    (facts, names, keys(layout, 0))
}

fn salted(salt_buckets: u32) -> KeyLayout {
    KeyLayout { salt_width: 1, salt_buckets, ..KeyLayout::default() }
}

fn flags(salt_width: u8, salt_buckets: &[u32]) -> LayoutFlags {
    LayoutFlags { salt_width: Some(salt_width), salt_buckets: salt_buckets.to_vec(), ..LayoutFlags::default() }
}

#[test]
fn layouts_are_found_out() {
    let layouts = [
        KeyLayout::default(),
        KeyLayout { metric_width: 4, tagk_width: 2, tagv_width: 5, ..KeyLayout::default() },
        salted(8),
        salted(20),
        KeyLayout { salt_width: 2, salt_buckets: 300, ..KeyLayout::default() },
    ];
    for wanted in layouts {
        let (facts, names, keys) = sample(&wanted);
        let found = decide(None, &LayoutFlags::default(), &facts, &names, &keys).unwrap();
        let main = *found.layouts.main();
        let buckets = if wanted.salt_width == 0 { main.salt_buckets } else { wanted.salt_buckets };
        assert_eq!(main, KeyLayout { salt_buckets: buckets, ..wanted });
        assert_eq!((found.fitting, found.warnings), (60, vec![]));
        // The same without a single name, where the widths are the usual ones.
        if wanted.metric_width == 3 {
            let found = decide(None, &LayoutFlags::default(), &UidFacts::default(), &UidNames::new(), &keys).unwrap();
            assert_eq!((*found.layouts.main(), found.fitting), (main, 60));
            assert!(found.warnings.concat().contains("no names of UIDs"), "{:?}", found.warnings);
        }
    }
}

#[test]
fn what_is_given_is_obeyed_and_other_salts_are_found() {
    let (facts, names, unsalted) = sample(&KeyLayout::default());
    let all = [unsalted.clone(), keys(&salted(20), 100), keys(&salted(64), 200)].concat();
    let found = decide(None, &flags(1, &[64]), &facts, &names, &all).unwrap();
    assert_eq!(*found.layouts.main(), salted(64));
    assert_eq!(found.layouts.older(), [salted(20), KeyLayout { salt_buckets: 64, ..KeyLayout::default() }]);
    assert_eq!(found.fitting, 180);
    assert!(found.warnings.concat().contains("20 buckets"), "{:?}", found.warnings);
    // Salt that was never switched on, and salt that is there although it is off.
    let found = decide(None, &flags(1, &[20]), &facts, &names, &unsalted).unwrap();
    assert_eq!((*found.layouts.main(), found.fitting), (salted(20), 60));
    assert!(found.warnings.concat().contains("0 of 60 sampled row keys have the salt that was given"));
    let found = decide(None, &flags(0, &[]), &facts, &names, &keys(&salted(8), 0)).unwrap();
    assert_eq!((found.layouts.main().salt_width, found.layouts.older()), (0, [salted(8)].as_slice()));
    // A list of counts needs no sample.
    let found = decide(None, &flags(1, &[64, 20, 5]), &facts, &names, &[]).unwrap();
    assert_eq!(found.layouts.older()[..2], [salted(20), salted(5)]);
}

#[test]
fn a_width_that_no_uid_has_is_refused_and_one_that_few_have_is_not() {
    let (mut facts, names, keys) = sample(&KeyLayout::default());
    let wrong = LayoutFlags { tagv_width: Some(4), ..LayoutFlags::default() };
    assert!(decide(None, &wrong, &facts, &names, &keys).is_err());
    facts.widths[UidKind::Tagv as usize].insert(4, [1, 0]);
    let found = decide(None, &wrong, &facts, &names, &keys).unwrap();
    assert!(found.warnings.concat().contains("none of 60"), "{:?}", found.warnings);
    assert!(found.warnings.concat().contains("60 of 3 bytes, 1 of 4 bytes"), "{:?}", found.warnings);
}

#[test]
fn an_empty_table_is_no_error() {
    let found = decide(None, &LayoutFlags::default(), &UidFacts::default(), &UidNames::new(), &[]).unwrap();
    assert_eq!(*found.layouts.main(), KeyLayout::default());
    assert_eq!((found.guessed.len(), found.warnings.len()), (4, 0));
}
