//! What the renderers write: numbers from findings only, hostile text inert.

mod common;

use forkscope_records::types::Findings;
use forkscope_report::{
    HtmlOptions, ReportData, figures, render_html, render_html_with, render_markdown,
};

#[test]
fn a_changed_finding_changes_every_renderer() {
    let mut data = common::run(2, 30);
    let before = (render_html(&data).unwrap(), render_markdown(&data).unwrap());
    for text in [&before.0, &before.1] {
        assert!(text.contains("2.09 %") && !text.contains("3.33 %"));
    }
    assert_eq!(data.findings.findings[1].id, "share.reranked");
    data.findings.findings[1].value = Some(0.0333);
    let after = (render_html(&data).unwrap(), render_markdown(&data).unwrap());
    for text in [&after.0, &after.1] {
        assert!(text.contains("3.33 %") && !text.contains("2.09 %"));
    }
    // Headline, sentence, table and figure.
    assert_eq!(
        after.0.matches("3.33 %").count(),
        before.0.matches("2.09 %").count()
    );
    assert!(after.0.matches("3.33 %").count() >= 3);
}

#[test]
fn no_number_outside_the_token_views_comes_from_rows() {
    let full = common::run(3, 60);
    let without = ReportData {
        rows: Vec::new(),
        rollouts: Vec::new(),
        ..full.clone()
    };
    let cut = |page: &str| {
        let begin = page.find("<section id=\"summary\"").unwrap();
        let end = page.find("<section id=\"tokens\"").unwrap();
        page[begin..end].to_owned()
    };
    assert_eq!(
        cut(&render_html(&full).unwrap()),
        cut(&render_html(&without).unwrap())
    );
    assert_eq!(
        render_markdown(&full).unwrap(),
        render_markdown(&without).unwrap()
    );
}

#[test]
fn hostile_text_is_inert() {
    let data = common::run(2, 40);
    let page = render_html(&data).unwrap();
    assert_eq!(
        page.matches("<script").count(),
        2,
        "the data block and the one script"
    );
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("<img"));
    assert!(
        page.matches("{{").count() <= 12,
        "slots of a template are not filled from text"
    );
    let bare = |c: char| {
        (c.is_control() && c != '\n')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || c == '\u{2066}'
            || c == '\u{200b}'
    };
    assert!(!page.contains(bare));
    let markdown = render_markdown(&data).unwrap();
    assert!(!markdown.contains(bare));
}

#[test]
fn pages_are_deterministic() {
    assert_eq!(
        render_html(&common::run(2, 50)).unwrap(),
        render_html(&common::run(2, 50)).unwrap()
    );
}

#[test]
fn an_almost_empty_run_still_renders() {
    let data = ReportData {
        run: serde_json::json!({"command": "score", "status": "incomplete"}),
        findings: Findings {
            schema: Findings::SCHEMA.into(),
            findings: vec![common::finding("lonely", 1.0, "nats", 0.0, 3)],
        },
        rollouts: Vec::new(),
        rows: Vec::new(),
        pieces: Default::default(),
    };
    let page = render_html(&data).unwrap();
    assert!(
        page.contains("no heat-map")
            && page.contains("marked incomplete")
            && page.contains("lonely")
    );
    assert!(render_markdown(&data).unwrap().contains("`lonely`"));
    let nothing = ReportData {
        findings: Findings {
            schema: String::new(),
            findings: Vec::new(),
        },
        ..data
    };
    assert!(render_html(&nothing).unwrap().contains("no findings"));
}

#[test]
fn a_large_run_says_what_the_page_carries() {
    let data = common::run(5, 40);
    let page = render_html_with(&data, &HtmlOptions { max_rows: 100 }).unwrap();
    assert!(
        page.contains("the first 2 of 5 rollouts in the order of the run (80 of 200 positions)")
    );
    let all = render_html(&data).unwrap();
    assert!(all.contains("All 200 positions of 5 rollouts are here."));
}

#[test]
fn figures_stand_alone() {
    let data = common::run(1, 10);
    let all = figures(&data.findings);
    let names: Vec<_> = all.iter().map(|f| f.name.as_str()).collect();
    assert!(names.contains(&"coverage") && names.contains(&"shares"));
    for figure in &all {
        assert!(
            figure
                .svg
                .starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"")
        );
        assert!(
            figure.svg.contains("<title>")
                && !figure.svg.contains("NaN")
                && !figure.svg.contains("style=")
        );
    }
}
