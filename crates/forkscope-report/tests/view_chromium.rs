//! The viewer in a real browser: it lists, sorts, filters, shows both models'
//! alternatives and both paths of an intervention, and complains of nothing.

#[path = "common/browser.rs"]
mod browser;
mod common;
#[path = "common/on_disk.rs"]
mod on_disk;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use browser::Browser;
use forkscope_report::Viewer;
use serde_json::{Value, json};

/// Runs `look` against a server of a synthetic run; skips where there is no browser.
fn with_page(look: impl FnOnce(&mut Browser, &str)) {
    let Some(program) = browser::program() else {
        eprintln!("skipped: no Chromium on this machine");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    on_disk::write(&run, &common::run(120, 80), 512);
    let viewer = Viewer::open(&run, 0).unwrap();
    let url = viewer.url().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let thread = std::thread::spawn(move || viewer.serve(|| flag.load(Ordering::Relaxed)));
    let mut page = Browser::start(&program).unwrap();
    look(&mut page, &url);
    drop(page);
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap().unwrap();
}

/// No complaint, and no request but to the server itself.
fn assert_quiet(page: &Browser, url: &str) {
    assert_eq!(page.complaints(), Vec::<String>::new());
    for request in page.requests() {
        let own = request.trim_matches('"');
        assert!(
            own.starts_with(url) || own.starts_with("data:"),
            "{request}"
        );
    }
}

fn visit(page: &mut Browser, route: &str, ready: &str) {
    page.eval(&format!("location.hash = {}", json!(route)))
        .unwrap();
    page.until(ready).unwrap();
}

fn text(page: &mut Browser, selector: &str) -> String {
    let found = page
        .eval(&format!(
            "document.querySelector({})?.innerText ?? ''",
            json!(selector)
        ))
        .unwrap();
    found.as_str().unwrap_or_default().to_owned()
}

fn count(page: &mut Browser, selector: &str) -> u64 {
    let n = page.eval(&format!(
        "document.querySelectorAll({}).length",
        json!(selector)
    ));
    n.unwrap().as_u64().unwrap()
}

/// Keeps a picture where somebody asked for pictures.
fn picture(page: &mut Browser, name: &str) {
    if let Some(dir) = std::env::var_os("FORKSCOPE_PICTURES") {
        let path = std::path::Path::new(&dir).join(format!("{name}.png"));
        page.picture(&path).unwrap();
    }
}

#[test]
fn it_answers() {
    with_page(|page, url| {
        page.open_url(url).unwrap();
        page.until("document.querySelectorAll('.findings tbody tr').length > 10")
            .unwrap();
        page.until("document.querySelectorAll('.figures figure').length > 2")
            .unwrap();
        picture(page, "overview");
        findings_are_found(page);
        the_list_sorts_and_filters(page);
        the_keyboard_reaches_everything(page);
        alternatives_are_shown(page);
        both_paths_are_shown(page);
        curves_are_drawn(page);
        text_is_inert(page);
        colours_switch(page);
        assert_quiet(page, url);
    });
}

fn findings_are_found(page: &mut Browser) {
    page.key("/").unwrap();
    for key in ["c", "o", "v", "e", "r"] {
        page.key(key).unwrap();
    }
    page.until("document.querySelectorAll('.findings tbody tr').length < 12")
        .unwrap();
    assert!(text(page, ".findings tbody").contains("coverage.kl.top_1pct"));
    page.key("Escape").unwrap();
}

/// Numbers of the n-th column as they stand in the list.
fn column(page: &mut Browser, n: usize) -> Vec<f64> {
    let cells = page.eval(&format!(
        "[...document.querySelectorAll('.list tbody td:nth-child({n})')].map(e => parseFloat(e.textContent.replace('−', '-'))).filter(v => !isNaN(v))"
    ));
    serde_json::from_value(cells.unwrap()).unwrap()
}

fn the_list_sorts_and_filters(page: &mut Browser) {
    visit(
        page,
        "#/rollouts",
        "document.querySelectorAll('.list tbody tr').length === 50",
    );
    page.until("document.getElementById('indexing').textContent === ''")
        .unwrap();
    picture(page, "rollouts");
    page.click("[data-sort=\"sum_kl\"]").unwrap();
    page.until("document.querySelector('[aria-sort=\"descending\"]')")
        .unwrap();
    let down = column(page, 6);
    assert!(
        down.len() == 50 && down.is_sorted_by(|a, b| a >= b),
        "{down:?}"
    );
    page.click("[data-sort=\"sum_kl\"]").unwrap();
    page.until("document.querySelector('[aria-sort=\"ascending\"]')")
        .unwrap();
    let up = column(page, 6);
    assert!(up.is_sorted() && up[0] < down[49], "{up:?}");
    page.click(".pages button:nth-child(2)").unwrap();
    page.until("document.querySelector('.pages .note').textContent.startsWith('51')")
        .unwrap();
    assert!(column(page, 6)[0] >= up[49]);

    // Filters: part of a problem's id, the grade, a range.
    page.key("/").unwrap();
    page.key("p").unwrap();
    page.key("5").unwrap();
    page.until("/ of 22$/.test(document.querySelector('.pages .note').textContent)")
        .unwrap();
    page.key("Escape").unwrap();
    page.eval("{ const s = document.querySelectorAll('.filters select')[0]; s.value = 'no'; s.dispatchEvent(new Event('change')); }").unwrap();
    page.until("[...document.querySelectorAll('.list tbody td:nth-child(3)')].every(e => e.textContent === 'no') && document.querySelectorAll('.list tbody tr').length < 22").unwrap();
    visit(
        page,
        "#/rollouts?min=sum_kl%3A6&sort=sum_kl",
        "document.querySelectorAll('.chip').length === 1",
    );
    page.until("document.querySelectorAll('.list tbody tr').length < 50")
        .unwrap();
    assert!(column(page, 6).iter().all(|v| *v >= 6.0));
    page.click(".chip").unwrap();
    page.until("document.querySelectorAll('.chip').length === 0")
        .unwrap();
}

fn the_keyboard_reaches_everything(page: &mut Browser) {
    page.eval("document.activeElement.blur()").unwrap();
    page.key("2").unwrap();
    visit(
        page,
        "#/rollouts?sort=max_kl&order=down",
        "document.querySelector('[data-sort=max_kl]')?.parentElement.ariaSort === 'descending'",
    );
    page.key("j").unwrap();
    page.key("j").unwrap();
    page.until("document.querySelector('.list tbody tr:nth-child(2)').getAttribute('aria-selected') === 'true'").unwrap();
    page.key("k").unwrap();
    page.key("Enter").unwrap();
    page.until(
        "location.hash.startsWith('#/rollout?') && document.querySelectorAll('.tok').length === 80",
    )
    .unwrap();
    page.key("t").unwrap();
    page.until("!document.getElementById('tip').hidden")
        .unwrap();
    page.key("n").unwrap();
    assert!(page.eval("document.activeElement.classList.contains('c1') || document.activeElement.classList.contains('c2')").unwrap() == json!(true));
    page.key("Escape").unwrap();
    page.until("document.getElementById('tip').hidden").unwrap();
    page.key("Escape").unwrap();
    let title = text(page, "h1");
    page.key("j").unwrap();
    page.until(&format!("document.querySelector('h1').innerText !== {} && document.querySelectorAll('.tok').length === 80", json!(title))).unwrap();
    page.key("Escape").unwrap();
    page.until("location.hash.startsWith('#/rollouts?') && document.querySelector('[aria-sort=\"descending\"]')").unwrap();
    page.key("?").unwrap();
    page.until("document.getElementById('help').open").unwrap();
    picture(page, "help");
    page.key("Escape").unwrap();
    page.until("!document.getElementById('help').open").unwrap();
}

fn alternatives_are_shown(page: &mut Browser) {
    visit(
        page,
        "#/rollout?n=7",
        "document.querySelectorAll('.tok').length === 80",
    );
    assert_eq!(
        page.eval("document.getElementById('tip').hidden").unwrap(),
        json!(true)
    );
    page.hover(".tok.c1").unwrap();
    page.until("!document.getElementById('tip').hidden")
        .unwrap();
    let card = text(page, "#tip");
    for part in [
        "base",
        "tuned",
        "KL(tuned ‖ base)",
        "JS",
        "rank base",
        "reranked",
        "81.00 %",
        "62.00 %",
        "−0.48",
        "−0.21",
    ] {
        assert!(card.contains(part), "{part} in {card}");
    }
    assert_eq!(count(page, "#tip ol li"), 10);
    picture(page, "rollout");
    page.eval("{ const m = document.getElementById('metric'); m.value = 'class'; m.dispatchEvent(new Event('change')); }").unwrap();
    assert_eq!(count(page, ".tok.c1:not(.h3)"), 0);
    assert!(count(page, ".tok.c1.h3") > 0);
}

fn both_paths_are_shown(page: &mut Browser) {
    visit(
        page,
        "#/branches",
        "document.querySelectorAll('.arms tbody tr').length === 3 && document.querySelectorAll('.list:not(.arms) tbody tr').length === 6",
    );
    picture(page, "branches");
    page.click(".list:not(.arms) tbody tr:nth-child(2)")
        .unwrap();
    page.until("document.querySelectorAll('.fork .side').length === 2")
        .unwrap();
    // One parting token on either side, at the same place, with different words.
    let parting = page
        .eval("[...document.querySelectorAll('.fork .tok.parting')].map(e => e.textContent)")
        .unwrap();
    let words: Vec<String> = serde_json::from_value(parting).unwrap();
    assert!(words.len() == 2 && words[0] != words[1], "{words:?}");
    assert_eq!(count(page, ".side.path .tok.changed"), 1);
    assert!(
        text(page, ".side.base .badges").contains("wrong")
            && text(page, ".side.path .badges").contains("correct")
    );
    assert_eq!(count(page, ".page > div > .heat .tok"), 8);
    page.hover(".side.path .tok.parting").unwrap();
    page.until("!document.getElementById('tip').hidden")
        .unwrap();
    assert!(
        text(page, "#tip").contains("part here"),
        "{}",
        text(page, "#tip")
    );
    picture(page, "branch");
    page.key("Escape").unwrap();
    page.key("Escape").unwrap();
    page.until("location.hash.startsWith('#/branches')")
        .unwrap();
}

fn curves_are_drawn(page: &mut Browser) {
    visit(
        page,
        "#/reversions",
        "document.querySelectorAll('.figures svg polyline').length === 8 && document.querySelectorAll('.list tbody tr').length === 50",
    );
    picture(page, "reversions");
    let prices = column(page, 5);
    assert!(prices[..20].is_sorted(), "{prices:?}");
    page.click(".list tbody tr:nth-child(1)").unwrap();
    page.until("document.querySelectorAll('.tok.changed').length === 2")
        .unwrap();
    page.hover(".tok.changed").unwrap();
    page.until("!document.getElementById('tip').hidden")
        .unwrap();
    assert!(text(page, "#tip").contains("donor"));
    picture(page, "reversion");
    visit(
        page,
        "#/awareness",
        "document.querySelectorAll('.figures svg polyline').length === 3",
    );
    picture(page, "awareness");
    assert!(text(page, "main").contains("0.830"));
}

fn text_is_inert(page: &mut Browser) {
    visit(
        page,
        "#/rollout?n=0",
        "document.querySelectorAll('.tok').length === 80",
    );
    assert_eq!(text(page, ".tok"), common::HOSTILE[0]);
    page.eval("document.querySelectorAll('details').forEach(d => d.open = true)")
        .unwrap();
    let all = page.eval("document.body.textContent").unwrap().to_string();
    assert!(all.contains("␛[31m") && all.contains("⟨U+202E⟩") && all.contains("␀nul␀"));
    assert!(!all.contains(['\u{202e}', '\u{1b}', '\u{200b}']));
    assert_eq!(
        count(
            page,
            "img, iframe, b, [onerror], [onmouseover], [style*=expression]"
        ),
        0
    );
    assert!(
        !page
            .eval("document.title")
            .unwrap()
            .to_string()
            .contains("owned")
    );
}

fn colours_switch(page: &mut Browser) {
    let paper = "getComputedStyle(document.body).backgroundColor";
    let before = page.eval(paper).unwrap();
    page.click("#theme").unwrap();
    assert_ne!(page.eval(paper).unwrap(), before);
    picture(page, "rollout-dark");
    page.click("#theme").unwrap();
}

#[test]
fn strangers_see_nothing() {
    with_page(|page, url| {
        let wrong = url
            .trim_end_matches('/')
            .rsplit_once('/')
            .unwrap()
            .0
            .to_owned();
        for path in [
            format!("{wrong}/"),
            format!("{wrong}/{}/", "0".repeat(32)),
            format!("{url}%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        ] {
            page.open_url(&path).unwrap();
            let shown = page.eval("document.body.innerText").unwrap().to_string();
            assert!(
                shown.contains("error") && !shown.contains("root:"),
                "{path}: {shown}"
            );
        }
        // A page of another origin can neither read it nor frame it.
        page.open_url("data:text/html,<title>other</title>")
            .unwrap();
        let read = page.eval(&format!(
            "fetch({}).then(() => 'read', () => 'refused')",
            json!(format!("{url}api/run"))
        ));
        assert_eq!(read.unwrap(), Value::String("refused".into()));
    });
}

/// `FORKSCOPE_VIEW_URL=… cargo test … -- --ignored first_page`: how long a
/// server that is already running takes to show its list in a browser.
#[test]
#[ignore = "needs a server of a large run"]
fn first_page() {
    let (Some(program), Ok(url)) = (browser::program(), std::env::var("FORKSCOPE_VIEW_URL")) else {
        return;
    };
    let mut page = Browser::start(&program).unwrap();
    page.open_url(&format!("{url}#/rollouts")).unwrap();
    page.until("document.querySelectorAll('.list tbody tr').length === 50")
        .unwrap();
    let said = page.eval("(async () => { await new Promise(requestAnimationFrame); const p = performance; const list = p.getEntriesByType('resource').find(r => r.name.includes('api/rollouts')); return [p.timing.domContentLoadedEventEnd - p.timing.navigationStart, list.responseEnd]; })()").unwrap();
    eprintln!(
        "page loaded after {} ms, first 50 rollouts there after {} ms",
        said[0], said[1]
    );
    picture(&mut page, "large");
    assert_quiet(&page, &url);
}
