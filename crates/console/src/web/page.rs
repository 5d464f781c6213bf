//! The page: everything that does not change around the parts that do. Pure.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::frame::Frame;
use super::presses::PressToken;
use super::verbs::{LabZones, TargetKind, VERBS, VerbRun};
use crate::watch::text;

/// How often a browser without script loads the page again, in seconds.
const RELOAD_S: u32 = 5;

/// The buttons of a lab.
pub(super) struct LabPanel<'a> {
    pub(super) zones: &'a LabZones,
    pub(super) token: &'a PressToken,
    pub(super) runs: &'a [VerbRun],
}

/// The whole page. `prefix`: the path below which the console is.
pub(super) fn page(frame: &Frame, prefix: &str, lab: Option<&LabPanel>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(prefix, true))
            body data-stream={ (prefix) "/stream" } {
                a class="skip" href="#main" { "Skip to the content" }
                header {
                    h1 { "Fastness console" }
                    div class="state" id="state" { (part(frame, "state")) }
                    div class="live" {
                        span id="connection" { noscript { "The page reloads every " (RELOAD_S) " seconds." } }
                        button type="button" id="pause" aria-pressed="false" hidden { "Pause updates" }
                    }
                    div class="unseen" role="status" id="news" {}
                }
                main id="main" tabindex="-1" {
                    div id="notices" { (part(frame, "notices")) }
                    dl class="cards" id="summary" { (part(frame, "summary")) }
                    (table_section(frame, "shards", "Shards"))
                    @if let Some(lab) = lab { (lab_section(prefix, lab)) }
                    section aria-labelledby="charts-title" {
                        h2 id="charts-title" { "Charts" }
                        div class="charts" id="charts" { (part(frame, "charts")) }
                    }
                    section aria-labelledby="timeline-title" {
                        h2 id="timeline-title" { "Event timeline" }
                        div id="timeline" { (part(frame, "timeline")) }
                    }
                    (table_section(frame, "events", "Events"))
                    (table_section(frame, "nodes", "Nodes"))
                    (table_section(frame, "slots", "Hot slots"))
                    (table_section(frame, "slow", "Slow commands"))
                }
                footer {
                    p { "Figures of all nodes, as they report them; a figure that no node has reported is shown as -." }
                }
            }
        }
    }
}

/// A page that says why there is no other.
pub(super) fn refusal(prefix: &str, title: &str, reason: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(prefix, false))
            body {
                main {
                    h1 { (title) }
                    p { (reason) }
                    p { a href=(prefix) { "Back to the console" } }
                }
            }
        }
    }
}

fn head(prefix: &str, reloads: bool) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { "Fastness console" }
            link rel="icon" href="data:,";
            link rel="stylesheet" href={ (prefix) "/console.css" };
            @if reloads {
                noscript { meta http-equiv="refresh" content=(RELOAD_S); }
                script src={ (prefix) "/console.js" } defer {}
            }
        }
    }
}

/// A part as it was rendered.
fn part(frame: &Frame, id: &str) -> Markup {
    PreEscaped(frame.part(id).to_owned())
}

/// A table that scrolls sideways on a narrow screen, by keyboard too.
fn table_section(frame: &Frame, id: &str, title: &str) -> Markup {
    let title_id = format!("{id}-title");
    html! {
        section aria-labelledby=(title_id) {
            h2 id=(title_id) { (title) }
            div class="scroll" id=(id) role="region" tabindex="0" aria-labelledby=(title_id) { (part(frame, id)) }
        }
    }
}

fn lab_section(prefix: &str, lab: &LabPanel) -> Markup {
    html! {
        section aria-labelledby="lab-title" class="lab" {
            h2 id="lab-title" { "Lab" }
            p { "Each button runs " code { "fastness lab" } ". One runs at a time." }
            (form(prefix, lab, TargetKind::Load, "", "The load"))
            div class="zones" {
                @for (zone, nodes) in lab.zones {
                    div class="zone" {
                        (form(prefix, lab, TargetKind::Zone, zone, &format!("AZ {zone}")))
                        @for node in nodes {
                            (form(prefix, lab, TargetKind::Node, &node.to_string(), &format!("Node {node}")))
                        }
                    }
                }
            }
            h3 { "What was pressed" }
            div id="runs" { (runs(lab.runs)) }
        }
    }
}

fn form(prefix: &str, lab: &LabPanel, kind: TargetKind, target: &str, name: &str) -> Markup {
    html! {
        form method="post" action={ (prefix) "/verb" } {
            fieldset {
                legend { (name) }
                input type="hidden" name="token" value=(lab.token.text());
                input type="hidden" name="target" value=(target);
                @for verb in VERBS.iter().filter(|verb| verb.target == kind) {
                    button name="verb" value=(verb.name) aria-label={ (verb.label) ": " (name) } { (verb.label) }
                }
            }
        }
    }
}

/// What was pressed, the newest first.
pub(super) fn runs(runs: &[VerbRun]) -> Markup {
    html! {
        @if runs.is_empty() { p class="none" { "Nothing yet." } }
        @for (place, run) in runs.iter().enumerate() {
            details open[place == 0] {
                summary {
                    time { (text::clock(run.at_ms)) } " "
                    code { "fastness lab " (run.words) } " "
                    @match &run.outcome {
                        None => span class="warning" { "in progress" },
                        Some(outcome) if outcome.is_ok => span class="good" { "done" },
                        Some(_) => span class="bad" { "failed" },
                    }
                }
                @if let Some(outcome) = &run.outcome {
                    pre tabindex="0" { (outcome.output) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::verbs::VerbOutcome;
    use super::*;

    #[test]
    fn the_page_of_a_node_has_no_buttons_of_a_lab() {
        let html = page(&Frame::default(), "/console", None).into_string();
        assert!(!html.contains("<form") && html.matches("<button").count() == 1, "{html}");
        for part in ["state", "notices", "summary", "shards", "charts", "timeline", "events", "nodes", "slots", "slow"]
        {
            assert_eq!(html.matches(&format!("id=\"{part}\"")).count(), 1, "{part}");
        }
    }

    #[test]
    fn buttons_have_names_of_their_own_and_a_token() {
        let zones = vec![("az-<a>".to_owned(), vec![1, 2]), ("az-b".to_owned(), vec![3])];
        let token = PressToken::default();
        let outcome = Some(VerbOutcome { is_ok: false, output: "<b>".to_owned() });
        let ran = [VerbRun { at_ms: 0, words: "az down az-<a>".to_owned(), outcome }];
        let html =
            page(&Frame::default(), "", Some(&LabPanel { zones: &zones, token: &token, runs: &ran })).into_string();
        assert_eq!(html.matches(token.text()).count(), 6, "a form for the load, each AZ and each node");
        let named: Vec<_> = html.split("aria-label=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let unique: std::collections::BTreeSet<_> = named.iter().collect();
        assert_eq!((named.len(), unique.len()), (2 + 2 * 5 + 3 * 7, 33));
        assert!(html.contains("Kill: AZ az-&lt;a&gt;") && html.contains("failed") && !html.contains("<b>"), "{html}");
    }
}
