use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use fastness_wire::admin::v1::{DescribeClusterResponse, NodeSpec};
use futures::StreamExt;
use tower::ServiceExt;

use super::*;
use crate::watch::calls::{CallFailed, ClusterCalls, NodeCalls};
use crate::watch::fixture::Fixture;
use crate::web::verbs::{LabZones, VerbOutcome, VerbRunner};

struct Silent;

#[async_trait]
impl ClusterCalls for Silent {
    async fn map(&self) -> Result<DescribeClusterResponse, CallFailed> {
        Ok(Fixture::new(&["zone-a", "zone-b"], 1).map)
    }

    async fn connect(&self, _: &NodeSpec) -> Result<Box<dyn NodeCalls>, CallFailed> {
        Err(CallFailed("it is not there".to_owned()))
    }
}

struct Nobody;

impl Passwords for Nobody {
    fn check(&self, _: IpAddr, _: &[u8], _: &[u8]) -> Result<(), PasswordRefusal> {
        Err(PasswordRefusal::Wrong)
    }
}

#[derive(Default)]
struct Lab {
    zones: LabZones,
}

#[async_trait]
impl VerbRunner for Lab {
    fn zones(&self) -> &LabZones {
        &self.zones
    }

    async fn run(&self, _: &ChosenVerb) -> VerbOutcome {
        VerbOutcome { is_ok: true, output: "zone-a: killed".to_owned() }
    }
}

fn of_node() -> Router {
    Console::of_node(Feed::new(Arc::new(Silent)), Arc::new(Nobody)).router()
}

fn of_lab() -> (Router, Arc<VerbDesk>) {
    let desk = VerbDesk::new(Arc::new(Lab { zones: vec![("zone-a".to_owned(), vec![1])] }));
    (Console::of_lab(Feed::new(Arc::new(Silent)), desk.clone()).router(), desk)
}

async fn answer(router: &Router, from: &str, lines: &[&str], body: &str) -> Response {
    let (method, path) = lines[0].split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for line in &lines[1..] {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let caller = Caller { address: SocketAddr::new(from.parse().unwrap(), 1), is_encrypted: false };
    let request = request.extension(caller).body(Body::from(body.to_owned())).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_page_is_shown_and_fetches_nothing_from_elsewhere() {
    let router = of_node();
    let to_page = answer(&router, "127.0.0.1", &["GET /", "Host: localhost"], "").await;
    assert_eq!(
        (to_page.status(), to_page.headers()["location"].to_str().unwrap()),
        (StatusCode::SEE_OTHER, "/console")
    );
    let page = answer(&router, "127.0.0.1", &["GET /console", "Host: localhost"], "").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers()["content-security-policy"], POLICY);
    let page = text(page).await;
    assert!(page.contains("zone-a (down)") && page.contains("it is not there"), "{page}");
    let targets = page.split(['"', '\'']).filter(|word| word.contains("//"));
    assert_eq!(targets.collect::<Vec<_>>(), Vec::<&str>::new());
    for path in ["console.css", "console.js"] {
        let file = answer(&router, "127.0.0.1", &[&format!("GET /console/{path}"), "Host: localhost"], "").await;
        assert_eq!(file.status(), StatusCode::OK);
        assert_eq!(file.headers()["x-content-type-options"], "nosniff");
        let file = text(file).await;
        assert!(!file.contains("http://") && !file.contains("https://") && !file.contains("@import"), "{path}");
    }
    let verb = answer(&router, "127.0.0.1", &["POST /console/verb", "Host: localhost"], "").await;
    assert_eq!(verb.status(), StatusCode::NOT_FOUND, "a node has no verbs");
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_from_elsewhere_is_refused_with_the_reason() {
    let router = of_node();
    for path in ["/console", "/console/stream", "/console/console.js"] {
        let line = format!("GET {path}");
        let far = answer(&router, "192.0.2.1", &[&line, "Host: localhost"], "").await;
        assert_eq!(far.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(text(far).await.contains("encrypted connection"));
        let rebound = answer(&router, "127.0.0.1", &[&line, "Host: rebound.example"], "").await;
        assert_eq!(rebound.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(rebound.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
        let wrong = [&line, "Host: rebound.example", "Authorization: Basic YTpi"];
        assert_eq!(answer(&router, "127.0.0.1", &wrong, "").await.status(), StatusCode::UNAUTHORIZED);
        let (lab, _) = of_lab();
        let rebound = answer(&lab, "127.0.0.1", &[&line, "Host: rebound.example"], "").await;
        assert_eq!(rebound.status(), StatusCode::FORBIDDEN, "{path}");
    }
}

/// The token and the cookie of a page.
async fn opened(router: &Router) -> (String, String) {
    let page = answer(router, "127.0.0.1", &["GET /console", "Host: localhost:7500"], "").await;
    let cookie = page.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = text(page).await;
    let token = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    (token.to_owned(), cookie)
}

#[tokio::test(start_paused = true)]
async fn a_button_is_pressed_by_the_page_and_by_nobody_else() {
    let (router, desk) = of_lab();
    let (token, cookie) = opened(&router).await;
    let cookie = format!("Cookie: {cookie}");
    let form = "Content-Type: application/x-www-form-urlencoded";
    let lines = ["POST /console/verb", "Host: localhost:7500", "Origin: http://localhost:7500", &cookie, form];
    let body = format!("token={token}&target=zone-a&verb=az-down");
    let status = async |lines: &[&str], body: &str| answer(&router, "127.0.0.1", lines, body).await.status();
    for without in 2..4 {
        let kept: Vec<_> = lines.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, line)| *line).collect();
        assert_eq!(status(&kept, &body).await, StatusCode::FORBIDDEN, "without {}", lines[without]);
    }
    for (changed, line) in [(1, "Host: evil.example"), (2, "Origin: http://evil.example")] {
        let mut lines = lines;
        lines[changed] = line;
        assert_eq!(status(&lines, &body).await, StatusCode::FORBIDDEN, "{line}");
    }
    assert_eq!(status(&lines, "token=0&target=zone-a&verb=az-down").await, StatusCode::FORBIDDEN);
    for wrong in ["zone-z&verb=az-down", "zone-a&verb=demo", "zone-a&verb=node-kill"] {
        let body = format!("token={token}&target={wrong}");
        assert_eq!(status(&lines, &body).await, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let long = format!("{body}&filler={}", "x".repeat(BODY_BYTES_MAX));
    assert_eq!(status(&lines, &long).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(desk.runs().borrow().is_empty(), "nothing of this has run");
    assert_eq!(status(&lines, &body).await, StatusCode::SEE_OTHER);
    let mut runs = desk.runs();
    let ended = runs.wait_for(|runs| runs.iter().any(|run| run.outcome.is_some())).await.unwrap();
    assert_eq!(ended[0].words, "az down zone-a");
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_end_with_their_connection() {
    let (router, _) = of_lab();
    let mut open = Vec::new();
    let request = ["GET /console/stream", "Host: localhost"];
    for _ in 0..STREAMS_MAX {
        let response = answer(&router, "127.0.0.1", &request, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        open.push(response.into_body().into_data_stream());
    }
    assert_eq!(answer(&router, "127.0.0.1", &request, "").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let mut ids = Vec::new();
    while ids.len() < 11 {
        let event = open[0].next().await.unwrap().unwrap();
        let event = String::from_utf8(event.to_vec()).unwrap();
        assert!(event.starts_with("event: part\ndata: {\"id\":\"") && event.ends_with("\n\n"), "{event}");
        ids.push(event.split('"').nth(3).unwrap().to_owned());
    }
    assert!(ids.contains(&"shards".to_owned()) && ids.contains(&"runs".to_owned()), "{ids:?}");
    drop(open);
    assert_eq!(answer(&router, "127.0.0.1", &request, "").await.status(), StatusCode::OK);
}

/// The colours of a scheme, by their names.
fn colours(css: &str) -> std::collections::BTreeMap<&str, [f64; 3]> {
    let lines = css.lines().filter_map(|line| line.trim().strip_prefix("--")?.trim_end_matches(';').split_once(": #"));
    let channel = |hex: &str, at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
    lines.map(|(name, hex)| (name, [0, 2, 4].map(|at| channel(hex, at)))).collect()
}

/// Relative luminance (WCAG 2).
fn luminance(colour: [f64; 3]) -> f64 {
    let linear = colour.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[test]
fn words_and_lines_stand_out_in_light_and_in_dark() {
    let (light, dark) = CSS.split_once("prefers-color-scheme: dark").unwrap();
    for css in [light, dark] {
        let colours = colours(css);
        assert_eq!(colours.len(), 17, "{colours:?}");
        for (name, colour) in colours.iter().filter(|(name, _)| !["page", "surface", "edge"].contains(*name)) {
            // Words need 4.5, lines of charts 3.
            let least = if name.starts_with("line-") { 3.0 } else { 4.5 };
            for ground in ["page", "surface"] {
                let (a, b) = (luminance(*colour), luminance(colours[ground]));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= least, "{name} on {ground}: {contrast:.2}");
            }
        }
    }
}
