//! The web console in a real browser, on real processes: what the page shows before, while and after an AZ is down, on
//! a large screen and on a phone, in light and in dark; the buttons of a lab, and who may press them; keyboard and
//! screen reader. The pictures are in the target's `tmp` folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_testkit::browser::{self, Browser};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::lab_console::{LabConsole, ended, press};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(90);
const SHARDS: u32 = 3;
const ZONES: [&str; 3] = ["a", "b", "c"];
const DESKTOP: (u32, u32) = (1280, 1400);
const PHONE: (u32, u32) = (390, 844);

/// The rows of the table of shards: each cell by the head of its column.
const SHARDS_SHOWN: &str = "(() => {
    const table = document.querySelector('#shards table');
    const heads = [...table.querySelectorAll('thead th')].map((head) => head.innerText.trim());
    const cells = (row) => [...row.cells].map((cell, at) => [heads[at], cell.innerText.trim()]);
    return [...table.querySelectorAll('tbody tr')].map((row) => Object.fromEntries(cells(row)));
})()";

type Row = BTreeMap<String, String>;

/// Whether there is no browser; that is an error where tests must run.
fn is_skipped() -> Result<bool> {
    let Some(why) = browser::lacking() else { return Ok(false) };
    ensure!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("SKIPPED: {why}");
    Ok(true)
}

fn picture(browser: &mut Browser, name: &str, is_whole: bool) -> Result<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&folder)?;
    browser.screenshot(&folder.join(format!("{name}.webp")), is_whole)
}

fn shards(browser: &mut Browser) -> Result<Vec<Row>> {
    Ok(serde_json::from_value(browser.evaluate(SHARDS_SHOWN)?)?)
}

/// Waits until the table of shards is as it should be, and returns it.
fn until(browser: &mut Browser, what: &str, is_so: impl Fn(&[Row]) -> bool) -> Result<Vec<Row>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let rows = shards(browser);
        if let Ok(rows) = &rows
            && rows.len() == SHARDS as usize
            && is_so(rows)
        {
            return Ok(rows.clone());
        }
        ensure!(Instant::now() < until, "not {what}: {rows:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The role of a shard's copy in an AZ.
fn role<'a>(row: &'a Row, zone: &str) -> &'a str {
    let down = format!("{zone} (down)");
    row.get(zone).or_else(|| row.get(&down)).map_or("", String::as_str)
}

/// Whether each shard has one primary and otherwise replicas.
fn is_whole(rows: &[Row]) -> bool {
    rows.iter().all(|row| {
        let roles: Vec<_> = ZONES.iter().map(|zone| role(row, zone)).collect();
        let count = |role: &str| roles.iter().filter(|other| **other == role).count();
        count("PRIMARY") == 1 && count("replica") == 2 && row["Margin"] == "1"
    })
}

/// Whether an AZ is shown as down, and the others serve every shard.
fn is_without(rows: &[Row], zone: &str) -> bool {
    rows.iter().all(|row| {
        let others = ZONES.iter().filter(|other| **other != zone);
        let primaries = others.filter(|other| role(row, other) == "PRIMARY").count();
        role(row, zone) == "DOWN"
            && primaries == 1
            && row["Margin"] == "0"
            && row.contains_key(&format!("{zone} (down)"))
    })
}

#[test]
fn a_page_shows_an_az_before_during_and_after_its_loss() -> Result<()> {
    if is_skipped()? {
        return Ok(());
    }
    let options = ClusterOptions { shards: SHARDS, durability: "async", ..ClusterOptions::default() };
    let mut cluster = Cluster::start(&options)?;
    cluster.keep_files();
    let console = LabConsole::start(cluster.dir())?;
    let mut browser = Browser::start()?;
    browser.resize(DESKTOP.0, DESKTOP.1, false)?;
    browser.open(console.url())?;
    let rows = until(&mut browser, "whole before", is_whole)?;
    let zone = *ZONES.iter().find(|zone| role(&rows[0], zone) == "PRIMARY").context("no primary of shard 1")?;
    press(&mut browser, "load-start", "")?;
    ended(&mut browser, "load start")?;
    until(&mut browser, "under load", |rows| rows.iter().any(|row| row["Commands/s"] != "0" && row["p99"] != "-"))?;
    picture(&mut browser, "before", true)?;

    press(&mut browser, "az-down", zone)?;
    until(&mut browser, "without the AZ", |rows| is_without(rows, zone))?;
    let output = ended(&mut browser, &format!("az down {zone}"))?;
    ensure!(output.contains("down"), "{output}");
    during(&mut browser)?;
    on_a_phone(&mut browser, &console, zone)?;
    on_a_node(&mut browser, &cluster, zone)?;

    browser.resize(DESKTOP.0, DESKTOP.1, true)?;
    browser.open(console.url())?;
    press(&mut browser, "az-up", zone)?;
    until(&mut browser, "whole again", is_whole)?;
    ended(&mut browser, &format!("az up {zone}"))?;
    press(&mut browser, "load-stop", "")?;
    let verdict = ended(&mut browser, "load stop")?;
    ensure!(verdict.contains("every promise is kept"), "{verdict}");
    picture(&mut browser, "after-dark", true)?;
    cluster.discard_files();
    Ok(())
}

/// What the page says beside the table of shards.
fn during(browser: &mut Browser) -> Result<()> {
    browser.wait_for("document.getElementById('news').textContent !== ''")?;
    for (place, text) in
        [("summary", "2 of 3"), ("nodes", "DOWN"), ("events", "elected"), ("events", "peer_unreachable")]
    {
        browser.wait_for(&format!("document.getElementById('{place}').innerText.includes('{text}')"))?;
    }
    browser.wait_for("document.querySelectorAll('#timeline .absence').length === 1")?;
    browser.wait_for("document.querySelectorAll('#charts .line').length > 3")?;
    browser.wait_for("document.getElementById('connection').innerText === 'Live'")?;
    picture(browser, "during", false)
}

/// The same on a phone whose user prefers dark.
fn on_a_phone(browser: &mut Browser, console: &LabConsole, zone: &str) -> Result<()> {
    browser.resize(PHONE.0, PHONE.1, true)?;
    browser.open(console.url())?;
    until(browser, "without the AZ on a phone", |rows| is_without(rows, zone))?;
    let width = browser.evaluate("document.documentElement.scrollWidth")?;
    ensure!(width.as_u64() <= Some(u64::from(PHONE.0)), "the page is {width} wide");
    let lowest = "Math.min(...[...document.querySelectorAll('button')].filter((button) => button.offsetHeight > 0)\
                  .map((button) => button.offsetHeight))";
    ensure!(browser.evaluate(lowest)?.as_u64() >= Some(24), "a button is too small for a finger");
    let brightness = "(() => {
        const parts = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number);
        return Math.max(...parts);
    })()";
    ensure!(browser.evaluate(brightness)?.as_u64() < Some(64), "the page is not dark");
    picture(browser, "phone-dark", false)?;
    picture(browser, "phone-dark-whole", true)
}

/// A node that is up shows the same, and has no buttons.
fn on_a_node(browser: &mut Browser, cluster: &Cluster, zone: &str) -> Result<()> {
    let file = cluster.file()?;
    let node = file.nodes.iter().find(|node| node.az != zone).context("no other node")?;
    browser.resize(DESKTOP.0, DESKTOP.1, false)?;
    browser.open(&format!("http://{}/", node.metrics))?;
    until(browser, "without the AZ on a node", |rows| is_without(rows, zone))?;
    ensure!(browser.evaluate("document.forms.length")? == json!(0), "a node has buttons");
    picture(browser, "node", false)
}

#[test]
fn the_page_is_used_by_keyboard_and_screen_reader_and_by_no_other_page() -> Result<()> {
    if is_skipped()? {
        return Ok(());
    }
    let mut cluster = Cluster::start(&ClusterOptions { shards: SHARDS, ..ClusterOptions::default() })?;
    cluster.keep_files();
    let console = LabConsole::start(cluster.dir())?;
    let mut browser = Browser::start()?;
    browser.resize(DESKTOP.0, DESKTOP.1, false)?;
    browser.open(console.url())?;
    until(&mut browser, "whole", is_whole)?;
    by_keyboard(&mut browser)?;
    by_screen_reader(&mut browser)?;
    fetches_nothing_from_elsewhere(&mut browser)?;
    not_by_another_page(&mut browser, &console)?;
    not_under_another_name(&console)?;
    without_script(&mut browser, &console)?;
    ensure!(cluster.file()?.nodes.iter().all(|node| node.pid.is_some()), "a node was killed");
    cluster.discard_files();
    Ok(())
}

/// Tab visits everything in the order of the page, and what has the focus is marked.
fn by_keyboard(browser: &mut Browser) -> Result<()> {
    let focusable = "[...document.querySelectorAll('a[href], button, [tabindex=\"0\"], summary')]\
                     .filter((element) => element.offsetParent !== null || element.className === 'skip')";
    let count = browser.evaluate(&format!("{focusable}.length"))?.as_u64().context("no number")?;
    ensure!(count > 40, "only {count} places");
    let mut visited = Vec::new();
    for _ in 0..count {
        browser.press("Tab")?;
        let state = browser.evaluate(&format!(
            "[{focusable}.indexOf(document.activeElement), getComputedStyle(document.activeElement).outlineStyle]"
        ))?;
        ensure!(state[1] != json!("none"), "the focus is not marked: {state}, after {visited:?}");
        visited.push(state[0].as_i64().unwrap_or(-1));
    }
    ensure!(visited.iter().copied().eq(0..count as i64), "{visited:?}");
    Ok(())
}

/// Everything that can be used, and each table and picture, has a name.
fn by_screen_reader(browser: &mut Browser) -> Result<()> {
    let nodes = browser.accessible()?;
    let named =
        |role: &str| -> Vec<&str> { nodes.iter().filter(|node| node.0 == role).map(|node| node.1.as_str()).collect() };
    for role in ["button", "columnheader", "rowheader", "table", "image", "region", "heading", "group"] {
        let names = named(role);
        ensure!(!names.is_empty() && names.iter().all(|name| !name.is_empty()), "{role}: {names:?}");
    }
    let buttons = named("button");
    ensure!(buttons.iter().collect::<BTreeSet<_>>().len() == buttons.len(), "two buttons have a name: {buttons:?}");
    ensure!(buttons.contains(&"Kill: AZ a") && buttons.contains(&"Pause updates"), "{buttons:?}");
    for zone in ZONES {
        ensure!(named("columnheader").contains(&zone), "{:?}", named("columnheader"));
    }
    for role in ["banner", "main", "contentinfo", "status"] {
        ensure!(named(role).len() == 1, "{role}: {nodes:?}");
    }
    ensure!(named("table").iter().any(|name| name.starts_with("Shards by availability zone")), "{:?}", named("table"));
    Ok(())
}

/// Every file is of the console itself, and nothing else may be loaded or run.
fn fetches_nothing_from_elsewhere(browser: &mut Browser) -> Result<()> {
    let own = "performance.getEntriesByType('resource').every((entry) => entry.name.startsWith(location.origin))";
    ensure!(browser.evaluate(own)? == json!(true), "something was fetched from elsewhere");
    let injected = "(() => {
        const script = document.createElement('script');
        script.textContent = 'window.injected = true';
        document.body.append(script);
        return window.injected === undefined;
    })()";
    ensure!(browser.evaluate(injected)? == json!(true), "an injected script has run");
    Ok(())
}

/// A page of another origin in the same browser, which knows the token, presses nothing.
fn not_by_another_page(browser: &mut Browser, console: &LabConsole) -> Result<()> {
    let token = browser.evaluate("document.getElementsByName('token')[0].value")?;
    let token = token.as_str().context("no token")?.to_owned();
    browser.open("data:text/html,<p>another page</p>")?;
    let submit = format!(
        "(() => {{
            const form = document.createElement('form');
            form.method = 'post';
            form.action = '{}/verb';
            for (const [name, value] of Object.entries({{ token: '{token}', target: 'a', verb: 'az-down' }})) {{
                const field = document.createElement('input');
                Object.assign(field, {{ type: 'hidden', name, value }});
                form.append(field);
            }}
            document.body.append(form);
            form.submit();
        }})()",
        console.url()
    );
    browser.evaluate(&submit)?;
    browser.wait_for("document.querySelector('h1')?.innerText === 'Not pressed'")?;
    browser.open(console.url())?;
    ensure!(browser.evaluate("document.getElementById('runs').innerText")? == json!("Nothing yet."));
    Ok(())
}

/// A foreign name that resolves to this machine shows nothing, and presses nothing.
fn not_under_another_name(console: &LabConsole) -> Result<()> {
    for request in ["GET /console", "GET /console/stream", "POST /console/verb"] {
        let mut tcp = TcpStream::connect(console.authority())?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        write!(tcp, "{request} HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 403"), "{request}: {answer}");
        ensure!(!answer.contains("token") && !answer.contains("Shards"), "{request}: {answer}");
    }
    Ok(())
}

/// The page shows the same without script, and its buttons work.
fn without_script(browser: &mut Browser, console: &LabConsole) -> Result<()> {
    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }))?;
    browser.open(console.url())?;
    until(browser, "whole without script", is_whole)?;
    press(browser, "az-heal", "a")?;
    ended(browser, "az heal a")?;
    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": false })).map(drop)
}

/// The pictures of the page in the README are small.
#[test]
fn the_readme_shows_the_page() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    for picture in ["deploy/pictures/console.webp", "deploy/pictures/console-phone.webp"] {
        ensure!(readme.contains(picture), "README.md does not show {picture}");
        let bytes = std::fs::metadata(root.join(picture)).with_context(|| picture.to_owned())?.len();
        ensure!(bytes < 150_000, "{picture}: {bytes} bytes");
    }
    Ok(())
}
