//! The AZ rule over every layout of 1 to 7 voters in up to 4 AZs, compared with its meaning instead of its formula.

use super::*;

const AZS: [&str; 4] = ["a", "b", "c", "d"];

/// All assignments of `n` voters to 4 AZs.
fn layouts(n: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..4usize.pow(n as u32)).map(move |mut code| {
        (0..n)
            .map(|_| {
                let az = code % 4;
                code /= 4;
                az
            })
            .collect()
    })
}

fn check_layout(layout: &[usize]) -> Result<Option<PlacementWarning>, PlacementError> {
    let azs: Vec<Az> = AZS.iter().map(|name| Az::from(*name)).collect();
    check(layout.iter().enumerate().map(|(i, az)| (NodeId(i as u64 + 1), &azs[*az])))
}

fn majorities(n: usize) -> impl Iterator<Item = u32> {
    (0u32..1 << n).filter(move |set| set.count_ones() as usize >= quorum(n))
}

fn spans_two_azs(layout: &[usize], set: u32) -> bool {
    let mut azs = (0..layout.len()).filter(|i| set & 1 << i != 0).map(|i| layout[i]);
    let first = azs.next();
    azs.any(|az| Some(az) != first)
}

fn survives_any_az(layout: &[usize]) -> bool {
    let n = layout.len();
    (0..4).all(|az| layout.iter().filter(|l| **l != az).count() >= quorum(n))
}

#[test]
fn a_layout_passes_exactly_if_every_majority_spans_two_azs_and_any_az_may_die() {
    for n in 1..=7 {
        for layout in layouts(n) {
            let spans = majorities(n).all(|set| spans_two_azs(&layout, set));
            match check_layout(&layout) {
                Ok(None) => assert!(spans && survives_any_az(&layout), "{layout:?}"),
                Ok(Some(_)) => assert!(spans && !survives_any_az(&layout), "{layout:?}"),
                Err(_) => assert!(!spans || !survives_any_az(&layout), "{layout:?}"),
            }
        }
    }
}

#[test]
fn every_suggestion_passes() {
    for n in 1..=7 {
        for layout in layouts(n) {
            let (Err(PlacementError::OneAz { suggestion, .. }) | Err(PlacementError::TooMany { suggestion, .. })) =
                check_layout(&layout)
            else {
                continue;
            };
            let suggested: Vec<usize> = suggestion.iter().enumerate().flat_map(|(az, held)| vec![az; *held]).collect();
            assert_eq!(check_layout(&suggested), Ok(None), "{layout:?} -> {suggestion:?}");
        }
    }
}

#[test]
fn both_halves_of_a_joint_configuration_count() {
    let (a, b, c) = (Az::from("a"), Az::from("b"), Az::from("c"));
    let good = vec![(NodeId(1), &a), (NodeId(2), &b), (NodeId(3), &c)];
    let bad = vec![(NodeId(1), &a), (NodeId(4), &a), (NodeId(3), &c)];
    assert_eq!(check_all([good.clone(), good.clone()]), Ok(vec![]));
    assert!(check_all([good.clone(), bad.clone()]).is_err());
    assert!(check_all([bad, good]).is_err());
}

#[test]
fn the_refusal_names_reason_and_layout() {
    let (a, b) = (Az::from("a"), Az::from("b"));
    let refused = check([(NodeId(1), &a), (NodeId(2), &a), (NodeId(3), &b)]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "AZ a holds 2 of 3 voters, at most 1 may be in one AZ (a majority without another AZ, or none without this \
         one); a layout that would work: 1 + 1 + 1 (3 voters in 3 AZs)"
    );
}

#[test]
fn without_a_durability_promise_one_az_is_enough() {
    let (a, b) = (Az::from("a"), Az::from("b"));
    for voters in [vec![(NodeId(1), &a)], vec![(NodeId(1), &a), (NodeId(2), &a), (NodeId(3), &b)]] {
        assert!(check_by(AzRule::Required, voters.clone()).is_err());
        assert_eq!(check_by(AzRule::Waived, voters), Ok(None));
    }
    assert_eq!(check_by(AzRule::Waived, []), Err(PlacementError::NoVoters));
    assert_eq!(check_by(AzRule::Waived, [(NodeId(1), &a), (NodeId(1), &a)]), Err(PlacementError::Twice(NodeId(1))));
}

#[test]
fn two_azs_warn() {
    let (a, b) = (Az::from("a"), Az::from("b"));
    let warning = check([(NodeId(1), &a), (NodeId(2), &b)]).unwrap();
    assert_eq!(warning, Some(PlacementWarning::TwoAzs { each: 1 }));
}
