//! The AZ rule: which sets of voters may form a group.
//!
//! With n voters and quorum q = n/2 + 1, an AZ holds at most n − q of them. Then every majority has a member in at
//! least two AZs, so a committed entry is on stable storage in two, and the loss of any one AZ leaves a majority. The
//! rule applies to each half of a joint configuration on its own, because a joint commit needs a majority of each.
//!
//! Two AZs cannot satisfy the second part: with equal halves (1+1, 2+2) every majority spans both, but the loss of one
//! stops the group. Such layouts are allowed with a warning.

use std::collections::BTreeMap;
use std::fmt;

use fastness_types::{Az, DiskId, NodeId, Plant};

/// One member of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its AZ.
    pub az: Az,
    /// The address of its peer listener, `host:port`.
    pub address: String,
    /// Its disk. On another disk the node is not this member.
    pub disk: DiskId,
}

/// A layout that is allowed although it satisfies only a part of the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacementWarning {
    /// Commits span two AZs, but the loss of either stops the group.
    TwoAzs {
        /// Voters in each.
        each: usize,
    },
}

impl fmt::Display for PlacementWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlacementWarning::TwoAzs { each } = self;
        write!(
            f,
            "two AZs with {each} voter(s) each: every commit spans both AZs, but the loss of either one stops writes; \
             a third AZ avoids that"
        )
    }
}

/// Why a set of voters is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// There are no voters.
    #[error("a group needs voters: at least 2 in 2 AZs, better 3 in 3 AZs")]
    NoVoters,
    /// A node is named twice.
    #[error("node {0} is named twice")]
    Twice(NodeId),
    /// All voters are in one AZ.
    #[error("all {voters} voter(s) are in AZ {az}: a commit must span 2 AZs; a layout that would work: {}", Layout(.suggestion))]
    OneAz {
        /// The only AZ.
        az: Az,
        /// Voters in it.
        voters: usize,
        /// Voters per AZ.
        suggestion: Vec<usize>,
    },
    /// An AZ holds more than n − q.
    #[error(
        "AZ {az} holds {held} of {voters} voters, at most {most} may be in one AZ (a majority without another AZ, or \
         none without this one); a layout that would work: {}", Layout(.suggestion)
    )]
    TooMany {
        /// The AZ.
        az: Az,
        /// Voters in it.
        held: usize,
        /// Voters of the group.
        voters: usize,
        /// n − q.
        most: usize,
        /// Voters per AZ.
        suggestion: Vec<usize>,
    },
}

/// Whether a group's voters must obey the AZ rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzRule {
    /// The rule applies, as in every durable cluster.
    Required,
    /// The rule does not apply, because the cluster promises no durability: its copies may be in one AZ.
    Waived,
}

/// Checks one set of voters. Without the rule, checks only that there are voters and that none is named twice.
///
/// # Errors
/// As [`check`].
pub fn check_by<'a>(
    rule: AzRule,
    voters: impl IntoIterator<Item = (NodeId, &'a Az)>,
) -> Result<Option<PlacementWarning>, PlacementError> {
    match (rule, check(voters)) {
        (AzRule::Waived, Err(PlacementError::OneAz { .. } | PlacementError::TooMany { .. })) => Ok(None),
        (_, checked) => checked,
    }
}

/// Formats a layout: `2 + 2 + 1 (5 voters in 3 AZs)`.
struct Layout<'a>(&'a [usize]);

impl fmt::Display for Layout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        let voters: usize = self.0.iter().sum();
        write!(f, "{} ({voters} voters in {} AZs)", parts.join(" + "), self.0.len())
    }
}

/// The size of a majority of `voters`.
#[must_use]
pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// Checks one set of voters.
///
/// # Errors
/// The violation, with a layout that satisfies the rule.
pub fn check<'a>(
    voters: impl IntoIterator<Item = (NodeId, &'a Az)>,
) -> Result<Option<PlacementWarning>, PlacementError> {
    if Plant::NoAzRule.is_on() {
        return Ok(None);
    }
    let mut nodes = std::collections::BTreeSet::new();
    let mut azs: BTreeMap<&Az, usize> = BTreeMap::new();
    for (node, az) in voters {
        if !nodes.insert(node) {
            return Err(PlacementError::Twice(node));
        }
        *azs.entry(az).or_default() += 1;
    }
    let n = nodes.len();
    let Some((&az, &held)) = azs.iter().max_by_key(|(_, held)| **held) else {
        return Err(PlacementError::NoVoters);
    };
    if azs.len() == 1 {
        return Err(PlacementError::OneAz { az: az.clone(), voters: n, suggestion: suggest(n, 3) });
    }
    let most = n - quorum(n);
    if held <= most {
        return Ok(None);
    }
    if azs.len() == 2 && held * 2 == n {
        return Ok(Some(PlacementWarning::TwoAzs { each: held }));
    }
    Err(PlacementError::TooMany { az: az.clone(), held, voters: n, most, suggestion: suggest(n, azs.len()) })
}

/// Checks each half of a (joint) configuration on its own.
///
/// # Errors
/// The violation of the first half that is refused.
pub fn check_all<'a, H>(halves: impl IntoIterator<Item = H>) -> Result<Vec<PlacementWarning>, PlacementError>
where
    H: IntoIterator<Item = (NodeId, &'a Az)>,
{
    let mut warnings = Vec::new();
    for half in halves {
        warnings.extend(check(half)?);
    }
    Ok(warnings)
}

/// Voters per AZ that satisfy the rule: as many voters as given or a few more, in at least three AZs.
fn suggest(voters: usize, azs: usize) -> Vec<usize> {
    let azs = azs.max(3);
    let mut n = voters.max(azs);
    // With an even number of voters n − q is one less than half. One more voter then always fits.
    if n.div_ceil(azs) > n - quorum(n) {
        n += 1;
    }
    let mut layout = vec![n / azs; azs];
    layout.iter_mut().take(n % azs).for_each(|held| *held += 1);
    layout
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
