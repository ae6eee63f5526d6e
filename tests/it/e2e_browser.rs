//! The page at `/` in a real browser that reaches the service and nothing else.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::context::TestContext;
use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Server};

/// Opens the entry of a route and gives it to what follows.
const OPEN: &str = "
const all = [...document.querySelectorAll('details.api')];
const api = all.find((one) => one.querySelector('summary code').textContent === ROUTE);
api.open = true;
const until = async (look) => { while (!look()) await new Promise((later) => setTimeout(later, 10)); };
await until(() => api.querySelector('button.main'));
const answered = async () => {
  api.querySelector('button.main').click();
  const status = () => api.querySelector('[aria-live] p')?.textContent ?? '';
  await until(() => / ms$|^No answer/.test(status()));
  return status().split(' · ')[0];
};
";

/// Looks at a picture: the share of its most frequent colour, its mean brightness, and how many colours it has.
const MEASURE: &str = "
import json, sys
from PIL import Image, ImageStat
picture = Image.open(sys.argv[1]).convert('RGB')
colours = sorted(picture.getcolors(1 << 24), reverse=True)
share = colours[0][0] / (picture.width * picture.height)
print(json.dumps([list(picture.size), share, ImageStat.Stat(picture.convert('L')).mean[0], len(colours)]))
";

fn serve(service: &str) -> Server {
    let python = program(Venv::Sdk, "python").to_str().expect("a plain path").to_owned();
    Plan::target(None).file("service.py", service).arguments(&["--python", &python]).start_ready()
}

fn open(browser: &mut Browser, server: &Server) -> String {
    let root = format!("http://127.0.0.1:{}", server.port());
    browser.take_requests();
    browser.go(&format!("{root}/"));
    browser.wait_for("document.getElementById('main')?.getAttribute('aria-busy') === 'false'");
    root
}

/// Runs a program on the entry of a route.
fn at(browser: &mut Browser, route: &str, program: &str) -> Value {
    let open = OPEN.replace("ROUTE", &json!(route).to_string());
    browser.evaluate(&format!("(async () => {{ {open} {program} }})()"))
}

fn entries(browser: &mut Browser) -> Vec<String> {
    let texts = "[...document.querySelectorAll('section:first-of-type summary')].filter((one) => one.closest('.api') \
        === one.parentElement).map((one) => one.textContent)";
    serde_json::from_value(browser.evaluate(texts)).expect("a list of texts")
}

/// What the visible part of the page looks like.
struct Picture {
    size: [u64; 2],
    share: f64,
    brightness: f64,
    colours: u64,
}

fn picture(browser: &mut Browser, context: &TestContext) -> Picture {
    let file = context.work().join("page.png");
    std::fs::write(&file, browser.screenshot()).expect("a new file");
    let measured = context.python(["-c", MEASURE]).arg(&file).run().stdout;
    let (size, share, brightness, colours) = serde_json::from_str(&measured).expect("four numbers");
    Picture { size, share, brightness, colours }
}

#[test]
fn the_page_shows_the_apis_and_what_they_answer_and_asks_nobody_else() {
    let Some(mut browser) = Browser::start() else { return };
    let server = serve(include_str!("../../testdata/services/page/service.py"));
    browser.look(1200, 900, "light");
    let root = open(&mut browser, &server);
    assert_eq!(browser.evaluate("document.title"), "flowers");
    let said = browser.evaluate("document.getElementById('description').textContent");
    assert!(said.as_str().is_some_and(|said| said.contains("<b>setosa</b>")), "{said}");
    let expected = [
        "POST /classify Tell the species of one flower.",
        "POST /v1/a/rather/long/route/that/does/not/fit/into/windows/as/narrow/as/those/of/telephones count · Count.",
        "POST /double Double every number.",
        "POST /red Paint a picture red.",
        "POST /size Tell how large a picture is.",
    ];
    assert_eq!(entries(&mut browser), expected);
    let requests = browser.take_requests();
    let requests: Vec<_> = requests.iter().filter(|request| !request.contains(" data:")).collect();
    assert_eq!(requests, [&format!("GET {root}/"), &format!("GET {root}/docs.json")]);
    calls_show_their_answers(&mut browser, &root);
    looks_as_it_should(&mut browser);
    assert_eq!(browser.complaints(), &[] as &[String]);
}

fn calls_show_their_answers(browser: &mut Browser, root: &str) {
    let call = |browser: &mut Browser, route: &str, before: &str, shown: &str| {
        at(browser, route, &format!("{before}; const status = await answered(); return [status, {shown}];"))
    };
    let text = "api.querySelector('[aria-live] pre').textContent";
    let classified = call(browser, "/classify", "", text);
    assert_eq!(classified, json!(["200 OK", "{\n  \"species\": \"setosa\"\n}"]));
    let wrong =
        "api.querySelector('textarea').value = '{\"flower\": {\"petal_length\": -1, \"petal_width\": 1}}'";
    let refused = call(browser, "/classify", wrong, text);
    assert_eq!(refused[0], "400 Bad Request");
    assert!(refused[1].as_str().is_some_and(|text| text.contains("greater than 0")), "{refused}");
    let doubled = call(
        browser,
        "/double",
        "api.querySelector('textarea').value = '{\"a\": [[1, 2]]}'",
        "JSON.parse(api.querySelector('[aria-live] pre').textContent)",
    );
    assert_eq!(doubled, json!(["200 OK", [[2, 4]]]));
    let route = "/v1/a/rather/long/route/that/does/not/fit/into/windows/as/narrow/as/those/of/telephones";
    assert_eq!(call(browser, route, "", text), json!(["200 OK", "0;1;2;"]));
    let painted = "await (async () => { const image = api.querySelector('[aria-live] img'); await image.decode(); \
        return [image.naturalWidth, image.naturalHeight]; })()";
    assert_eq!(call(browser, "/red", "", painted), json!(["200 OK", [40, 30]]));
    let chosen = "const canvas = document.createElement('canvas'); canvas.width = 7; canvas.height = 5; \
        const blob = await new Promise((done) => canvas.toBlob(done)); const files = new DataTransfer(); \
        files.items.add(new File([blob], 'a.png', { type: 'image/png' })); \
        api.querySelector('input[type=file]').files = files.files";
    assert_eq!(
        call(browser, "/size", chosen, "JSON.parse(api.querySelector('[aria-live] pre').textContent)"),
        json!(["200 OK", [7, 5]])
    );
    let elsewhere = |request: &String| !request.contains(root) && !request.contains(" data:");
    let requests = browser.take_requests();
    assert_eq!(requests.iter().filter(|request| request.starts_with("POST ")).count(), 6, "{requests:?}");
    let elsewhere: Vec<_> = requests.into_iter().filter(elsewhere).collect();
    assert_eq!(elsewhere, Vec::<String>::new());
}

/// Not blank, light or dark as its user wants it, and no wider than the window.
fn looks_as_it_should(browser: &mut Browser) {
    let context = TestContext::new();
    for (width, scheme) in [(1200, "light"), (1200, "dark"), (360, "light")] {
        browser.look(width, 900, scheme);
        browser.evaluate("window.scrollTo(0, 0)");
        let picture = picture(browser, &context);
        assert_eq!(picture.size, [u64::from(width), 900]);
        assert!(picture.share < 0.97 && picture.colours > 20, "{width} {scheme}: hardly anything is drawn");
        let is_light = picture.brightness > 128.0;
        assert_eq!(is_light, scheme == "light", "{width} {scheme}: {}", picture.brightness);
        let over =
            browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(over, 0, "{width} {scheme}: the page is wider than the window");
    }
}

#[test]
fn the_page_of_a_service_of_functions_calls_it_too() {
    let Some(mut browser) = Browser::start() else { return };
    let service = "
import bentoml
from bentoml.io import JSON, Text

svc = bentoml.Service('old', runners=[])


@svc.api(input=Text(), output=Text())
def shout(text):
    return text.upper()


@svc.api(input=JSON(), output=JSON())
def count(numbers):
    return {'count': len(numbers)}
";
    let server = serve(service);
    open(&mut browser, &server);
    assert_eq!(entries(&mut browser).len(), 2);
    let set = |text: &str| {
        format!(
            "api.querySelector('textarea').value = {}; await answered(); return api.querySelector('[aria-live] pre').textContent;",
            json!(text)
        )
    };
    assert_eq!(at(&mut browser, "/shout", &set("hello")), "HELLO");
    assert_eq!(at(&mut browser, "/count", &set("[1, 2, 3]")), "{\n  \"count\": 3\n}");
    assert_eq!(browser.complaints(), &[] as &[String]);
}
