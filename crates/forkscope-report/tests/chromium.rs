//! The page in a real browser: silent, offline, inert, and it answers.

#[path = "common/browser.rs"]
mod browser;
mod common;

use browser::Browser;
use forkscope_report::{ReportData, render_html};
use serde_json::json;

/// A browser; `None`, with a message, where there is none.
fn browser() -> Option<Browser> {
    let Some(program) = browser::program() else {
        eprintln!("skipped: no Chromium on this machine");
        return None;
    };
    Some(Browser::start(&program).unwrap())
}

/// Opens a run's page; returns the seconds until its load event and its size.
fn open(page: &mut Browser, data: &ReportData) -> (f64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.html");
    std::fs::write(&path, render_html(data).unwrap()).unwrap();
    let seconds = page.open(&path).unwrap().as_secs_f64();
    (seconds, std::fs::metadata(&path).unwrap().len())
}

/// Neither complaint nor request, the page itself apart.
fn assert_quiet(browser: &Browser) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let requests = browser.requests();
    assert!(
        requests.len() == 1 && requests[0].contains("report.html"),
        "{requests:?}"
    );
}

#[test]
fn small_runs() {
    let Some(mut page) = browser() else { return };
    it_answers(&mut page);
    hostile_text_does_nothing(&mut page);
    a_run_without_rows_is_quiet_too(&mut page);
}

#[test]
fn large_runs() {
    let Some(mut page) = browser() else { return };
    a_hundred_thousand_tokens_are_usable(&mut page);
    one_rollout_of_a_hundred_thousand_tokens_opens(&mut page);
}

fn it_answers(page: &mut Browser) {
    open(page, &common::run(3, 100));
    let shown = |page: &mut Browser| page.eval("!document.getElementById('tip').hidden").unwrap();

    assert_eq!(shown(page), json!(false));
    page.hover(".tok.c1").unwrap();
    assert_eq!(shown(page), json!(true));
    let text = page
        .eval("document.getElementById('tip').innerText")
        .unwrap()
        .to_string();
    for part in [
        "base", "tuned", "KL", "JS", "rank", "reranked", "81.00 %", "62.00 %",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(
        page.eval("document.querySelectorAll('#tip ol li').length")
            .unwrap(),
        json!(10)
    );

    // Sort by every column, both ways.
    let column = |n: usize| {
        format!(
            "[...document.querySelectorAll('#positions tbody tr:not(.pad) td:nth-child({n})')].slice(0, 20).map(e => parseFloat(e.textContent.replace('−', '-')))"
        )
    };
    let sorted = |page: &mut Browser, n: usize| -> (bool, bool) {
        let values: Vec<f64> = serde_json::from_value(
            page.eval(&format!("{}.filter(v => !isNaN(v))", column(n)))
                .unwrap(),
        )
        .unwrap();
        assert!(values.len() > 10);
        (values.is_sorted_by(|a, b| a >= b), values.is_sorted())
    };
    assert!(sorted(page, 8).0, "by KL, largest first, to begin with");
    for n in [8, 9, 10, 11, 12, 13, 14] {
        let button = format!("#positions th:nth-child({n}) button");
        page.click(&button).unwrap();
        let first = sorted(page, n);
        page.click(&button).unwrap();
        let second = sorted(page, n);
        assert!(first.0 != second.0 && first.1 != second.1, "column {n}");
    }
    page.click("#rollouts th:nth-child(10) button").unwrap();
    assert_eq!(
        page.eval("document.querySelector('#rollouts th:nth-child(10)').getAttribute('aria-sort')")
            .unwrap(),
        json!("descending")
    );

    // A row leads to its token, the keyboard goes on from there.
    page.click("#positions tbody tr:nth-child(3)").unwrap();
    let at = "document.activeElement.row";
    let row = page.eval(at).unwrap().as_u64().unwrap();
    page.key("ArrowRight").unwrap();
    assert_eq!(page.eval(at).unwrap(), json!(row + 1));
    assert_eq!(shown(page), json!(true));
    page.key("Escape").unwrap();
    assert_eq!(shown(page), json!(false));

    // Class filter and colour.
    page.eval("{ const f = document.getElementById('filter'); f.value = 'changed'; f.dispatchEvent(new Event('change')); }").unwrap();
    let classes = page.eval("[...new Set([...document.querySelectorAll('#positions tbody tr:not(.pad) td:nth-child(7)')].map(e => e.textContent))]").unwrap();
    assert!(!classes.to_string().contains("unshifted"), "{classes}");
    page.eval("{ const m = document.getElementById('metric'); m.value = 'class'; m.dispatchEvent(new Event('change')); }").unwrap();
    assert_eq!(
        page.eval("document.querySelectorAll('.tok.c1:not(.h3)').length")
            .unwrap(),
        json!(0)
    );
    page.click("#theme").unwrap();
    assert!(
        page.eval("document.documentElement.dataset.theme")
            .unwrap()
            .is_string()
    );
    assert_quiet(page);
}

fn hostile_text_does_nothing(page: &mut Browser) {
    open(page, &common::run(2, 60));
    page.hover(".tok:nth-child(1)").unwrap();
    page.hover(".tok:nth-child(3)").unwrap();
    assert!(
        page.eval("document.title")
            .unwrap()
            .to_string()
            .contains("reasoner against base")
    );
    assert_eq!(
        page.eval("document.querySelectorAll('img, iframe, b, [onerror], [onmouseover]').length")
            .unwrap(),
        json!(0)
    );
    let first = page
        .eval("document.querySelector('.tok').textContent")
        .unwrap();
    assert_eq!(first, json!(common::HOSTILE[0]));
    let all = page.eval("document.body.textContent").unwrap().to_string();
    assert!(all.contains("␛[31m") && all.contains("⟨U+202E⟩") && all.contains("␀nul␀"));
    assert!(!all.contains(['\u{202e}', '\u{1b}', '\u{200b}']));
    // Script that does get onto the page is stopped by the policy.
    page.eval("{ const s = document.createElement('script'); s.textContent = \"document.title='owned'\"; document.body.append(s); }").unwrap();
    assert!(
        !page
            .eval("document.title")
            .unwrap()
            .to_string()
            .contains("owned")
    );
    assert!(
        page.complaints()
            .iter()
            .any(|c| c.contains("Content Security Policy"))
    );
    assert_eq!(page.requests().len(), 1);
}

fn a_hundred_thousand_tokens_are_usable(page: &mut Browser) {
    let data = common::run(50, 2000);
    let (seconds, size) = open(page, &data);
    let timed = |page: &mut Browser, act: &str| {
        page.eval(&format!("new Promise((done) => {{ const t = performance.now(); {act}; requestAnimationFrame(() => setTimeout(() => done(performance.now() - t))); }})"))
            .unwrap()
            .as_f64()
            .unwrap()
    };
    let sort = timed(
        page,
        "document.querySelector('#positions th:nth-child(12) button').click()",
    );
    let recolour = timed(
        page,
        "{ const m = document.getElementById('metric'); m.value = 'js'; m.dispatchEvent(new Event('change')); }",
    );
    let scroll = timed(
        page,
        "document.querySelector('#positions .grid').scrollTop = 1300000",
    );
    eprintln!(
        "{:.1} MB, load {seconds:.2} s, sort {sort:.0} ms, recolour {recolour:.0} ms, scroll {scroll:.0} ms",
        size as f64 / 1e6
    );
    assert_eq!(
        page.eval("document.getElementById('positions-count').textContent")
            .unwrap(),
        json!("100,000 positions")
    );
    assert!(
        page.eval("document.querySelectorAll('#positions tbody tr').length")
            .unwrap()
            .as_u64()
            .unwrap()
            < 100,
        "only rows in view are held"
    );
    let row =
        "document.querySelector('#positions tbody tr:nth-child(5)').getAttribute('aria-rowindex')";
    let place: u64 = page.eval(row).unwrap().as_str().unwrap().parse().unwrap();
    assert!(place > 49_000 && place < 51_000, "{place}");
    page.hover(".tok.h5, .tok.h6").unwrap();
    assert_eq!(
        page.eval("document.getElementById('tip').hidden").unwrap(),
        json!(false)
    );
    // On paper the tables are what the window shows, not 100,000 rows of it.
    let pages = page.pdf_pages().unwrap();
    assert!((3..60).contains(&pages), "{pages} pages");
    // Generous: shared machines; the usual figure is well below two seconds.
    assert!(
        seconds < 10.0 && sort < 5000.0,
        "load {seconds} s, sort {sort} ms"
    );
    assert_quiet(page);
}

fn one_rollout_of_a_hundred_thousand_tokens_opens(page: &mut Browser) {
    let (seconds, _) = open(page, &common::run(1, 100_000));
    eprintln!("one rollout: load {seconds:.2} s");
    page.eval("new Promise((done) => { const look = () => document.querySelectorAll('.tok').length === 100000 ? done(1) : setTimeout(look, 20); look(); })").unwrap();
    page.hover(".tok.c2").unwrap();
    assert_eq!(
        page.eval("document.getElementById('tip').hidden").unwrap(),
        json!(false)
    );
    assert_quiet(page);
}

fn a_run_without_rows_is_quiet_too(page: &mut Browser) {
    let data = ReportData {
        rows: Vec::new(),
        ..common::run(1, 1)
    };
    open(page, &data);
    assert_eq!(
        page.eval("document.getElementById('theme').hidden")
            .unwrap(),
        json!(false)
    );
    assert_quiet(page);
}
