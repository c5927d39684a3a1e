use serde_json::json;

use super::*;

fn apply(template: &str) -> Result<String, TemplateError> {
    let object = json!({
        "ID": "abc", "Tags": ["a:1", "b:2"], "Size": 12, "None": null, "Ratio": 1.5, "Yes": true, "Empty": [],
        "NoMap": {},
        "Config": {"Cmd": ["sh", "-c"], "Labels": {"org.x": "y", "k": "v"}},
        "Mounts": [{"Source": "/a", "RW": true}, {"Source": "/b", "RW": false}],
        "Label()": {"org.x": "y"},
    });
    Template::parse(template)?.apply(&object)
}

#[track_caller]
fn golden(cases: &[(&str, &str)]) {
    for (template, text) in cases {
        match apply(template) {
            Ok(found) => assert_eq!(found, *text, "{template}"),
            Err(e) => panic!("{template}: {e}"),
        }
    }
}

#[test]
fn fields_and_functions() {
    golden(&[
        ("", ""),
        ("{{.ID}}:{{ .Size }}", "abc:12"),
        ("{{.Config.Cmd}}", "[sh -c]"),
        ("{{json .Config.Cmd}}", "[\"sh\",\"-c\"]"),
        ("{{.Config.Labels}}", "map[k:v org.x:y]"),
        ("{{.Config.Labels.k}}", "v"),
        ("{{.Config.Labels.none}}", "<no value>"),
        ("{{index .Config.Labels \"org.x\"}}", "y"),
        ("[{{index .Config.Labels \"none\"}}][{{index .NoMap \"x\"}}][{{index .None \"x\"}}]", "[][][]"),
        ("{{json (index .Config.Labels \"none\")}}{{if index .None \"x\"}}yes{{end}}", "\"\""),
        ("{{index .Config \"Nothing\"}}", "<no value>"),
        ("{{(index .Mounts 1).Source}}", "/b"),
        ("{{index .Tags 1}}", "b:2"),
        ("{{join .Tags \", \"}}", "a:1, b:2"),
        ("{{.ID | upper | json}}", "\"ABC\""),
        ("{{len .Tags}}", "2"),
        ("{{.None.Below}} {{.None}} {{with .None}}x{{else}}{{print .None}}{{end}}", "<no value> <nil> <nil>"),
        ("a\\tb\\n{{.ID}}", "a\tb\nabc"),
        ("{{\"}}\"}}", "}}"),
        ("{{`a\"b`}}", "a\"b"),
        ("{{.Label \"org.x\"}}-{{.Label \"none\"}}-{{\"org.x\" | .Label}}", "y--y"),
        ("{{slice .ID 0 2}}{{slice .Tags 1}}", "ab[b:2]"),
        ("{{split \"a/b/c\" \"/\"}}", "[a b c]"),
        ("{{index (split .ID \"b\") 1}}", "c"),
        ("{{title \"exited now\"}}", "Exited Now"),
        ("{{truncate .ID 2}}{{truncate .ID 9}}", "ababc"),
        ("[{{pad .ID 1 2}}][{{pad \"\" 1 2}}]", "[ abc  ][]"),
        ("{{printf \"%s=%d %q\" .ID .Size .ID}}", "abc=12 \"abc\""),
        ("{{print .ID .Size 3}}{{println .Size}}", "abc12 312\n"),
        ("{{.Ratio}}{{-3}}{{1.5}}{{true}}", "1.5-31.5true"),
    ]);
}

#[test]
fn conditions_and_comparisons() {
    golden(&[
        ("{{if .Yes}}a{{end}}", "a"),
        ("{{if .Empty}}a{{else}}b{{end}}", "b"),
        ("{{if .None}}a{{else if eq .ID \"abc\"}}b{{else}}c{{end}}", "b"),
        ("{{if .None}}a{{else if .None}}b{{else}}c{{end}}d", "cd"),
        ("{{if and (gt .Size 10) (lt .Size 20)}}in{{end}}", "in"),
        ("{{if or .None .ID}}x{{end}}{{or .None .ID}}{{and .ID .None}}", "xabc<no value>"),
        ("{{and .None (index .Tags 9)}}", "<no value>"),
        (
            "{{not .Yes}} {{ne .ID \"x\"}} {{le 1 1}} {{ge 1 2}} {{lt \"a\" \"b\"}}",
            "false true true false true",
        ),
        ("{{eq .ID \"x\" \"abc\"}}{{eq .Size 12.0}}{{eq .Size \"12\"}}", "truetruefalse"),
        ("{{with .Config}}{{.Cmd}}{{$.ID}}{{end}}", "[sh -c]abc"),
        ("{{with .None}}a{{else with .ID}}{{.}}{{else}}c{{end}}", "abc"),
        ("{{with $x := .ID}}{{$x}}{{.}}{{end}}", "abcabc"),
    ]);
}

#[test]
fn loops_and_variables() {
    golden(&[
        ("{{range .Tags}}<{{.}}>{{end}}", "<a:1><b:2>"),
        ("{{range $i, $e := .Tags}}{{$i}}={{$e}} {{end}}", "0=a:1 1=b:2 "),
        ("{{range $e := .Mounts}}{{$e.Source}} {{end}}", "/a /b "),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "k=v;org.x=y;"),
        ("{{range .Empty}}x{{else}}none{{end}}{{range .None}}x{{else}}nil{{end}}", "nonenil"),
        ("{{range .Mounts}}{{if .RW}}{{continue}}{{end}}{{.Source}}{{end}}", "/b"),
        ("{{range .Tags}}{{.}}{{break}}{{end}}!", "a:1!"),
        ("{{$x := .ID}}{{$x}}{{$x = 2}}{{$x}}", "abc2"),
        ("{{$n := 0}}{{range .Tags}}{{$n = .}}{{end}}{{$n}}", "b:2"),
        ("{{$x := 1}}{{if .Yes}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        (
            "{{range .Mounts}}{{$s := .Source}}{{range $.Tags}}{{$s}}{{.}} {{end}}{{end}}",
            "/aa:1 /ab:2 /ba:1 /bb:2 ",
        ),
        ("a {{- range .Tags -}} x {{- end -}} b", "axxb"),
        ("a {{/* nothing }} */}}b{{- /* trims */ -}} c", "a bc"),
    ]);
}

#[test]
fn templates_have_names() {
    golden(&[
        ("{{define \"x\"}}<{{.}}>{{end}}{{template \"x\" .ID}} {{template \"x\"}}", "<abc> <<no value>>"),
        ("{{block \"y\" .ID}}{{len .}}{{end}}{{template \"y\" .Tags}}", "32"),
        ("{{range .Tags}}{{template \"t\" .}}{{end}}{{define `t`}}[{{.}}{{$}}]{{end}}", "[a:1a:1][b:2b:2]"),
        ("{{$x := 1}}{{template \"v\" 2}}{{$x}}{{define \"v\"}}{{$x := .}}{{$x}}{{end}}", "21"),
        (
            "{{range 3}}{{.}}{{end}}{{range $i, $e := 2}}{{$i}}{{$e}}{{end}}{{range 0}}x{{else}}none{{end}}",
            "0120011none",
        ),
    ]);
}

/// The expectations are those of Docker 26.1.
#[test]
fn text_is_escaped_for_other_languages() {
    golden(&[
        (
            "{{html \"<a&b>\"}} {{js \"it's <b>\"}} {{urlquery \"a b&c\"}}",
            "&lt;a&amp;b&gt; it\\'s \\u003Cb\\u003E a+b%26c",
        ),
        ("{{html .ID 1}} {{js \"=+<>&\" | html}}", "abc1 \\u003D+\\u003C\\u003E\\u0026"),
        ("{{urlquery .Config.Cmd}}", "%5Bsh+-c%5D"),
    ]);
}

/// The expectations are those of Docker 26.1.
#[test]
fn durations_have_units_in_text_only() {
    let object =
        json!({"Interval": duration::mark(json!(90_000_000_000_i64)), "Zero": duration::mark(json!(0))});
    for (template, expected) in [
        (
            "{{.Interval}} {{printf \"%v %d %s\" .Interval .Interval .Interval}}",
            "1m30s 1m30s 90000000000 1m30s",
        ),
        ("{{json .}}", "{\"Interval\":90000000000,\"Zero\":0}"),
        ("{{json .Interval}}{{if .Zero}}x{{end}}{{if .Interval}}y{{end}}", "90000000000y"),
        ("{{eq .Interval 90000000000}}{{gt .Interval .Zero}}", "truetrue"),
        ("{{print .Zero}}", "0s"),
    ] {
        assert_eq!(Template::parse(template).unwrap().apply(&object).unwrap(), expected, "{template}");
    }
}

#[test]
fn mistakes_are_explained() {
    for (template, words) in [
        ("{{.Nope}}", ":1:2: executing \"\" at <.Nope>: can't evaluate field Nope; the fields are .Config"),
        ("x{{.Config.Nope}}", ":1:10: executing \"\" at <.Config.Nope>"),
        ("{{.ID}}\n {{.Nope}}", "template: :2:3: executing"),
        ("{{.Config.ATwentyLettersLongName}}", "at <.Config.ATwentyLette...>"),
        ("{{.ID.X}}", "of a plain value"),
        ("{{.ID", "template parsing error: template: :1: unclosed action"),
        ("{{}}", "missing value for command"),
        ("{{.ID |}}", "missing value"),
        ("{{if}}{{end}}", "missing value for if"),
        ("{{if .ID}}", "unexpected EOF"),
        ("{{range .Tags}}{{else}}", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{if .ID}}{{else}}{{else}}{{end}}", "expected end; found {{else}}"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{template \"x\"}}", ":1:11: executing \"\" at <{{template \"x\"}}>: template \"x\" not defined"),
        ("{{define \"x\"}}{{.Foo}}{{end}}{{template \"x\" .}}", ":1:16: executing \"x\" at <.Foo>"),
        ("{{block \"x\"}}{{end}}", ":1: missing value for block clause"),
        ("{{define x}}{{end}}", ":1: unexpected \"x\" in define clause"),
        ("{{if .}}{{define \"x\"}}{{end}}{{end}}", ":1: unexpected <define> in command"),
        ("{{define \"x\"}}a", ":1: unexpected EOF"),
        ("{{define \"x\"}}a{{else}}{{end}}", "unexpected {{else}} in define clause"),
        ("{{template \"x\" . .}}", ":1:11: executing \"\" at <{{template \"x\" . .}}>"),
        ("{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}", ":1:25: executing \"x\" at"),
        ("{{range .Tags}}{{block \"x\" .}}{{break}}{{end}}{{end}}", "{{break}} outside {{range}}"),
        ("{{$x := 1}}{{block \"x\" .}}{{$x}}{{end}}", "undefined variable \"$x\""),
        ("{{.nope}}", "can't evaluate field nope"),
        ("{{nope .ID}}", "function \"nope\" not defined"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{if $x := 1}}{{end}}{{$x}}", "undefined variable"),
        ("{{json}}", "wrong number"),
        ("{{\"x}}", "unclosed action"),
        ("{{(.ID}}", "unclosed left paren"),
        ("{{.ID)}}", "unexpected"),
        ("{{index .Tags 5}}", "error calling index: index out of range: 5"),
        ("{{index .None 0}}", "error calling index: index of untyped nil"),
        ("{{index (index .NoMap \"80/tcp\") 0}}", "error calling index: can't index"),
        ("{{slice .ID 1 9}}", "slice out of range"),
        ("{{json ID}}", "function \"ID\" not defined"),
        ("{{.ID | 3}}", "non executable command in pipeline"),
        ("{{gt .ID 3}}", "incompatible types for comparison"),
        ("{{range .ID}}{{end}}", "range can't iterate over abc"),
        ("{{.ID \"x\"}}", "ID has arguments but cannot be invoked as function"),
        ("{{len 3}}", "error calling len"),
        ("{{1.2.3}}", "bad number syntax"),
        ("{{.a..b}}", "bad field"),
    ] {
        match apply(template) {
            Ok(text) => panic!("{template}: {text}"),
            Err(e) => assert!(e.to_string().contains(words), "{template}: {e}"),
        }
    }
}

#[test]
fn depth_is_bounded() {
    let parentheses = |depth: usize| format!("{{{{{}.ID{}}}}}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(apply(&parentheses(90)).unwrap(), "abc");
    assert!(apply(&parentheses(100_000)).unwrap_err().to_string().contains("too deep"));
    let blocks = |depth: usize| "{{if .ID}}".repeat(depth) + "x" + &"{{end}}".repeat(depth);
    assert_eq!(apply(&blocks(90)).unwrap(), "x");
    assert!(apply(&blocks(100_000)).unwrap_err().to_string().contains("too deep"));
    let calls = "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}";
    assert!(apply(calls).unwrap_err().to_string().contains("exceeded maximum template depth"));
    let definitions = "{{define \"x\"}}".repeat(100_000);
    assert!(apply(&definitions).unwrap_err().to_string().contains("unexpected <define>"));
    let named = "{{block \"x\" .}}".repeat(100_000);
    assert!(apply(&named).unwrap_err().to_string().contains("too deep"));
    let otherwise = "{{if .None}}".to_owned() + &"{{else if .None}}".repeat(100_000) + "{{end}}";
    assert!(apply(&otherwise).unwrap_err().to_string().contains("too deep"));
}

#[test]
fn tables_have_headers_and_columns() {
    let headers = json!({"Repository": "REPOSITORY", "Tag": "TAG", "Label()": null});
    let rows = [
        json!({"Repository": "localhost/busybox", "Tag": "1", "Label()": {"com.my-app": "x"}}),
        json!({"Repository": "x", "Tag": "2", "Label()": {}}),
    ];
    let list = |format: &str| Template::parse(format).unwrap().list(&rows, &headers).unwrap();
    let expected = "REPOSITORY          TAG\nlocalhost/busybox   1\nx                   2\n";
    assert_eq!(list("table {{.Repository}}\\t{{.Tag}}"), expected);
    assert_eq!(list("table {{.Tag}}\\t{{.Repository}}").lines().next(), Some("TAG       REPOSITORY"));
    assert_eq!(
        list("table {{lower .Tag}}\\t{{truncate .Repository 3}}").lines().next(),
        Some("TAG       REPOSITORY")
    );
    assert_eq!(list("table {{.Label \"com.my-app\"}}"), "my app\nx\n\n");
    assert_eq!(list("{{.Tag}}"), "1\n2\n");
    assert_eq!(list("json").lines().nth(1), Some("{\"Repository\":\"x\",\"Tag\":\"2\"}"));
    Template::parse("table {{.Nope}}").unwrap().list(&[], &headers).unwrap_err();
}

proptest::proptest! {
    #[test]
    fn no_template_panics(
        template in "(\\{\\{|\\}\\}|\\{\\{- | -\\}\\}|\\.|\\||\"|`|[a-zA-Z é]|\\\\t|json|table |if |range |with |else|end|define |template |block |\"x\"|\\(|\\)|\\$x|:=|,|/\\*|\\*/|printf \"%9d\" |-1|1\\.5|\\.Tags){0,14}"
    ) {
        let _ = apply(&template);
    }
}
