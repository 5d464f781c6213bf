//! The words of the command line for faults of disks and links, and the texts that describe them.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use fastness_wire::lab::v1::{DiskFault, DiskFaultKind, LinkFault, SetLinkFaultRequest};

/// The fault of a disk that these words describe.
pub fn disk_fault(words: &[String]) -> Result<DiskFault> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (kind, slow_ms) = match words[..] {
        ["stall"] => (DiskFaultKind::Stall, 0),
        ["slow", ms] => (DiskFaultKind::Slow, number(ms)?),
        ["full"] => (DiskFaultKind::Fill, 0),
        ["fail"] => (DiskFaultKind::Fail, 0),
        ["heal"] => (DiskFaultKind::Unspecified, 0),
        _ => bail!("{:?} is not one of stall, slow MS, full, fail, heal", words.join(" ")),
    };
    Ok(DiskFault { kind: kind.into(), slow_ms, met: 0 })
}

/// The change of the link to node `to` that these words describe.
pub fn link_request(to: u64, words: &[String]) -> Result<SetLinkFaultRequest> {
    let mut set = LinkFault { to_node: to, ..LinkFault::default() };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["delay", ms] => set.delay_ms = Some(number(ms)?),
        ["drop", percent] => set.drop_percent = Some(number(percent)?),
        ["rate", bytes] => set.rate_bytes_per_second = Some(number(bytes)?),
        ["cut"] => set.cut = Some(true),
        ["heal"] => return Ok(healed(to)),
        _ => bail!("{:?} is not one of delay MS, drop PERCENT, rate BYTES, cut, heal", words.join(" ")),
    }
    Ok(SetLinkFaultRequest { fault: Some(set), heal: false })
}

/// The request that cuts the link to a node.
pub fn cut(to: u64) -> SetLinkFaultRequest {
    SetLinkFaultRequest { fault: Some(LinkFault { to_node: to, cut: Some(true), ..LinkFault::default() }), heal: false }
}

/// The request that delays every frame to a node.
pub fn delayed(to: u64, delay_ms: u32) -> SetLinkFaultRequest {
    let fault = LinkFault { to_node: to, delay_ms: Some(delay_ms), ..LinkFault::default() };
    SetLinkFaultRequest { fault: Some(fault), heal: false }
}

/// The request that heals the link to a node.
pub fn healed(to: u64) -> SetLinkFaultRequest {
    SetLinkFaultRequest { fault: Some(LinkFault { to_node: to, ..LinkFault::default() }), heal: true }
}

fn number<N: FromStr>(text: &str) -> Result<N> {
    text.parse().ok().with_context(|| format!("{text:?} is not a valid number"))
}

/// What a fault does to a disk.
pub fn disk_text(fault: &DiskFault) -> String {
    match fault.kind() {
        DiskFaultKind::Unspecified => "healed".to_owned(),
        DiskFaultKind::Stall => "writes stall".to_owned(),
        DiskFaultKind::Slow => format!("writes take {} ms more", fault.slow_ms),
        DiskFaultKind::Fill => "writes fail for lack of space".to_owned(),
        DiskFaultKind::Fail => "the next fsync fails".to_owned(),
    }
}

/// What faults do to a link.
pub fn link_text(fault: &LinkFault) -> String {
    let mut parts = Vec::new();
    if fault.cut() {
        parts.push("cut".to_owned());
    }
    if fault.delay_ms() > 0 {
        parts.push(format!("delay {} ms", fault.delay_ms()));
    }
    if fault.drop_percent() > 0 {
        parts.push(format!("drop {} %", fault.drop_percent()));
    }
    if fault.rate_bytes_per_second() > 0 {
        parts.push(format!("rate {} bytes/s", fault.rate_bytes_per_second()));
    }
    if parts.is_empty() { "healed".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn setting_one_fault_of_a_link_keeps_the_others() {
        let request = link_request(3, &words("delay 40")).unwrap();
        assert_eq!(request, delayed(3, 40));
        let fault = request.fault.unwrap();
        assert_eq!((fault.to_node, fault.delay_ms, fault.cut, request.heal), (3, Some(40), None, false));
        assert_eq!(link_text(&fault), "delay 40 ms");
        let healed = link_request(3, &words("heal")).unwrap();
        assert!(healed.heal && healed.fault.unwrap().cut.is_none());
    }

    #[test]
    fn an_unknown_fault_is_refused() {
        for wrong in ["slow", "slow x", "stall 3", "break", "fill"] {
            disk_fault(&words(wrong)).unwrap_err();
        }
        for wrong in ["delay", "delay -1", "cut 3", "rate fast"] {
            link_request(1, &words(wrong)).unwrap_err();
        }
        assert_eq!(disk_text(&disk_fault(&words("slow 20")).unwrap()), "writes take 20 ms more");
    }
}
