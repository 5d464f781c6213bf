use fastness_console::watch::fixture::Fixture;
use fastness_console::watch::history::ShardHistory;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

const ZONES: [&str; 3] = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (160, 50);

fn polled(zones: &[&str], shards: u32, silent: &[u64]) -> Fixture {
    let mut fixture = Fixture::new(zones, shards);
    fixture.poll(&[]);
    fixture.poll(silent);
    fixture.poll(silent);
    fixture
}

fn draw(fixture: &Fixture, choice: Choice, (width, height): (u16, u16)) -> Vec<String> {
    let overview = Overview::of(&fixture.watched, fixture.now_ms());
    let mut history = ShardHistory::default();
    history.add(&overview);
    let scene = Scene { overview: &overview, history: &history, choice: &choice, interval: Duration::from_secs(1) };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| scene.draw(frame.area(), frame.buffer_mut())).unwrap();
    plain::lines(terminal.backend().buffer())
}

fn shown(fixture: &Fixture, panel: Panel, size: (u16, u16)) -> String {
    draw(fixture, Choice { panel, ..Choice::default() }, size).join("\n")
}

/// The line that has all of these words.
fn line<'a>(screen: &'a str, words: &[&str]) -> &'a str {
    let found = screen.lines().find(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("no line with {words:?}:\n{screen}"))
}

#[test]
fn a_small_screen_shows_nodes_shards_and_figures() {
    let screen = shown(&polled(&ZONES, 3, &[]), Panel::Events, SMALL);
    line(&screen, &["fastness top", "01234567", "async", "3 nodes", "14:03:10 UTC", "every 1s"]);
    for (node, zone) in (1..).zip(ZONES) {
        let line = line(&screen, &[zone, &format!("{node}"), "up", "200M", "3s"]);
        assert!(!line.contains("DOWN"), "{line}");
    }
    line(&screen, &["SHARD", "LAG", "P50", "P99", "QM", "OPS/S", "MEM"]);
    for shard in ["1", "2", "3"] {
        let line = line(&screen, &[shard, "PRIMARY", "replica", "2.5s/10s", "1.02ms", "8.19ms", "1.5k", "64M"]);
        assert_eq!(line.matches("replica").count(), 2, "{line}");
        assert!(line.contains("\u{2588}\u{b7}\u{b7}\u{b7}\u{2502}"), "the refusal line: {line}");
    }
    line(&screen, &["q quit", "Tab panel", "p pause", "? help"]);
    line(&screen, &["Events", "Lag", "Replicas", "Slots", "Slow commands"]);
}

#[test]
fn a_large_screen_shows_every_panel_at_once() {
    let mut fixture = polled(&ZONES, 3, &[]);
    fixture.event(1, 2_000, "peer_unreachable", &[("peer", 2), ("shard", 1)]);
    let screen = shown(&fixture, Panel::Events, LARGE);
    for title in ["Events", "Lag of shard 1", "Replicas of shard 1", "Slots of shard 1", "Slow commands"] {
        line(&screen, &[title]);
    }
    line(&screen, &["MODE", "LAG", "MAX", "KEYS", "SLOTS"]);
    line(&screen, &["14:03:09", "peer_unreachable", "peer=2"]);
    line(&screen, &["hgetall", "12ms", "10.0.0.9:50123"]);
    line(&screen, &["617", "50.0%"]);
    line(&screen, &["lag 2.5s of 10s", "red line"]);
}

#[test]
fn an_az_that_is_down_is_shown_with_since_when_and_the_rest_as_before() {
    for size in [SMALL, LARGE] {
        let screen = shown(&polled(&ZONES, 3, &[2]), Panel::Events, size);
        line(&screen, &["3 nodes", "1 DOWN"]);
        line(&screen, &["eu-west-1b", "AZ DOWN", "seen 14:03:08, 2s ago", "connection"]);
        line(&screen, &["eu-west-1a", "up"]);
        line(&screen, &["eu-west-1c", "up"]);
        for shard in ["1", "2", "3"] {
            let line = line(&screen, &[shard, "PRIMARY", "replica", "DOWN"]);
            assert!(line.contains("2.5s/10s") && line.contains(" 0 "), "{line}");
        }
    }
}

#[test]
fn what_was_not_observed_is_a_dash() {
    let screen = shown(&Fixture::new(&ZONES, 3), Panel::Replicas, SMALL);
    let line = line(&screen, &["eu-west-1a", "1", "-"]);
    assert!(!line.contains("up") && !line.contains("DOWN") && !line.contains('0'), "{line}");
    for word in ["PRIMARY", "replica", "DOWN", "2.5s"] {
        assert!(!screen.contains(word), "{word}:\n{screen}");
    }
}

#[test]
fn the_chosen_of_many_shards_is_on_the_screen() {
    let fixture = polled(&ZONES, 30, &[]);
    for size in [SMALL, LARGE] {
        for shard in [0, 14, 29] {
            let choice = Choice { shard, panel: Panel::Replicas, ..Choice::default() };
            let screen = draw(&fixture, choice, size).join("\n");
            let number = (shard + 1).to_string();
            line(&screen, &[&format!("Replicas of shard {number}")]);
            let has_row = screen.lines().any(|line| {
                let cells: Vec<_> = line.split_whitespace().collect();
                cells.contains(&number.as_str()) && cells.contains(&"PRIMARY") && line.contains("2.5s/10s")
            });
            assert!(has_row, "shard {number}:\n{screen}");
        }
    }
    line(&shown(&fixture, Panel::Events, SMALL), &["Shards 1-", "of 30"]);
}

#[test]
fn many_nodes_do_not_hide_one_that_is_down() {
    let zones: Vec<String> = (0..20).map(|zone| format!("zone-{:02}", zone / 2)).collect();
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    let screen = shown(&polled(&zones, 3, &[17, 18]), Panel::Events, SMALL);
    line(&screen, &["zone-08", "17", "AZ DOWN"]);
    line(&screen, &["zone-08", "18", "AZ DOWN"]);
    line(&screen, &["20 nodes", "2 DOWN"]);
    // Ten AZs: letters instead of words.
    line(&screen, &["SHARD", "LAG"]);
    line(&screen, &["XX"]);
}

#[test]
fn long_names_are_cut_and_control_characters_are_not_obeyed() {
    let zones =
        ["a-very-long-name-of-an-availability-zone-1", "b\u{1b}[31mred", "\u{6771}\u{4eac}-availability-zone-3"];
    for size in [SMALL, LARGE] {
        let screen = shown(&polled(&zones, 2, &[3]), Panel::Events, size);
        line(&screen, &["a-very-long-n", "\u{2026}", "up"]);
        line(&screen, &["\u{6771}\u{4eac}-avai", "\u{2026}", "AZ DOWN"]);
        line(&screen, &["b\u{b7}[31mred", "up"]);
        assert!(!screen.contains('\u{1b}'));
    }
}

#[test]
fn only_async_has_a_refusal_line() {
    let mut fixture = Fixture::new(&ZONES, 1);
    fixture.durability = "sync";
    fixture.poll(&[]);
    let screen = shown(&fixture, Panel::Lag, SMALL);
    assert!(!screen.contains("/10s") && !screen.contains("refused"), "{screen}");
    line(&screen, &["the oldest uncommitted effect"]);
}

#[test]
fn the_mode_and_the_pause_are_shown() {
    let fixture = polled(&ZONES, 1, &[]);
    let choice = Choice { is_paused: true, ..Choice::default() };
    line(&draw(&fixture, choice, SMALL).join("\n"), &["PAUSED"]);
    let help = Choice { shows_help: true, ..Choice::default() };
    for size in [SMALL, LARGE] {
        let screen = draw(&fixture, help, size).join("\n");
        line(&screen, &["q quit", "choose a shard"]);
        line(&screen, &["when other nodes lost it."]);
    }
}

/// Whatever the size, the cluster and the choice: something is drawn, and nothing panics.
#[test]
fn every_screen_can_be_drawn() {
    let sizes = [(0, 0), (1, 1), (20, 5), (39, 12), (40, 12), SMALL, (120, 30), LARGE, (300, 100)];
    let five = ["a", "b", "c", "d", "e"];
    let clusters = [
        Fixture::new(&ZONES, 3),
        polled(&ZONES, 0, &[]),
        polled(&ZONES, 1, &[1]),
        polled(&ZONES, 30, &[1, 2, 3]),
        polled(&five, 3, &[5]),
        polled(&[], 0, &[]),
    ];
    for size in sizes {
        for cluster in &clusters {
            for panel in Panel::ALL {
                for (shard, shows_help) in [(0, false), (99, true)] {
                    let choice = Choice { shard, panel, shows_help, is_paused: false };
                    let lines = draw(cluster, choice, size);
                    assert_eq!(lines.len(), usize::from(size.1));
                }
            }
        }
    }
}

#[test]
fn a_page_has_everything() {
    let mut fixture = polled(&ZONES, 30, &[2]);
    fixture.event(1, 2_000, "elected", &[("shard", 7), ("term", 8)]);
    let page = page(&Overview::of(&fixture.watched, fixture.now_ms()));
    for zone in ZONES {
        line(&page, &[zone, if zone == "eu-west-1b" { "AZ DOWN" } else { "up" }]);
    }
    for shard in 1..=30 {
        line(&page, &[&format!("REPLICAS OF SHARD {shard}")]);
        let row = page.lines().filter(|line| {
            let mut cells = line.split_whitespace();
            cells.next() == Some(shard.to_string().as_str()) && line.contains("PRIMARY") && line.contains("2.5s/10s")
        });
        assert_eq!(row.count(), 1, "shard {shard}:\n{page}");
    }
    line(&page, &["EVENTS"]);
    line(&page, &["elected", "term=8"]);
    line(&page, &["hgetall", "10.0.0.9:50123"]);
}
