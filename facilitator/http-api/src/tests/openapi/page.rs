//! Renders the OpenAPI document as the inner HTML of a page.

use std::fmt::Write as _;

use serde_json::Value;

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "options"];

pub(super) fn page(document: &Value) -> String {
    let mut out = String::from("<body>\n<h1>Switchyard: HTTP API</h1>\n");
    for paragraph in text(&document["info"]["description"]).split("\n\n") {
        writeln!(out, "<p>{}</p>", marked(paragraph)).unwrap();
    }
    out.push_str("<p>For programs: <a href=\"openapi.json\">openapi.json</a>.</p>\n<ul>\n");
    let paths = document["paths"].as_object().unwrap();
    for path in paths.keys() {
        writeln!(
            out,
            "<li><a href=\"#{0}\"><code>{0}</code></a></li>",
            escaped(path)
        )
        .unwrap();
    }
    out.push_str("</ul>\n");
    for (path, item) in paths {
        writeln!(out, "<section id=\"{}\">", escaped(path)).unwrap();
        let known = METHODS
            .iter()
            .filter_map(|method| Some((method, item.get(method)?)));
        let mut shown = Vec::new();
        for (method, operation) in known {
            // The methods of a scheme's route differ in nothing.
            if path.starts_with("/{") && !shown.is_empty() {
                continue;
            }
            shown.push(method);
            let method = if path.starts_with("/{") {
                "any method".to_owned()
            } else {
                method.to_uppercase()
            };
            writeln!(out, "<h2>{method} <code>{}</code></h2>", escaped(path)).unwrap();
            operation_html(&mut out, operation);
        }
        out.push_str("</section>\n");
    }
    out.push_str("<h1>Objects</h1>\n");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let schema = serde_json::to_string_pretty(schema).unwrap();
        writeln!(
            out,
            "<section id=\"{name}\">\n<h2>{name}</h2>\n<pre tabindex=\"0\">{}</pre>\n</section>",
            escaped(&schema)
        )
        .unwrap();
    }
    out.push_str("</body>\n");
    out
}

fn operation_html(out: &mut String, operation: &Value) {
    writeln!(out, "<p>{}</p>", marked(text(&operation["summary"]))).unwrap();
    let parameters = operation["parameters"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !parameters.is_empty() {
        out.push_str("<table>\n<tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>\n");
        for one in parameters {
            let (name, place, meaning) = (text(&one["name"]), text(&one["in"]), text(&one["description"]));
            writeln!(
                out,
                "<tr><td><code>{}</code></td><td>{place}</td><td>{}</td></tr>",
                escaped(name),
                marked(meaning)
            )
            .unwrap();
        }
        out.push_str("</table>\n");
    }
    let body = &operation["requestBody"]["content"]["application/json"];
    if let Some(name) = schema_name(body) {
        writeln!(out, "<p>Body: <a href=\"#{name}\">{name}</a></p>").unwrap();
    }
    if let Some(example) = body["examples"].get("version2") {
        let example = serde_json::to_string_pretty(&example["value"]).unwrap();
        writeln!(out, "<pre tabindex=\"0\">{}</pre>", escaped(&example)).unwrap();
    }
    out.push_str("<table>\n<tr><th>Status</th><th>Body</th><th>Meaning</th></tr>\n");
    for (status, response) in operation["responses"].as_object().unwrap() {
        let content = response["content"]
            .as_object()
            .and_then(|content| content.iter().next());
        let body = match content {
            Some((_, content)) if schema_name(content).is_some() => {
                let name = schema_name(content).unwrap();
                format!("<a href=\"#{name}\">{name}</a>")
            }
            Some((media, _)) => escaped(media),
            None => "none".to_owned(),
        };
        let waits = if response["headers"].get("Retry-After").is_some() {
            " With <code>Retry-After</code>."
        } else {
            ""
        };
        let meaning = marked(text(&response["description"]));
        writeln!(
            out,
            "<tr><td>{status}</td><td>{body}</td><td>{meaning}{waits}</td></tr>"
        )
        .unwrap();
    }
    out.push_str("</table>\n");
}

fn schema_name(content: &Value) -> Option<&str> {
    content["schema"]["$ref"].as_str()?.rsplit('/').next()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Text whose code is between backticks.
fn marked(text: &str) -> String {
    let parts = escaped(text);
    let parts = parts.split('`').enumerate();
    parts
        .map(|(n, part)| {
            if n % 2 == 1 {
                format!("<code>{part}</code>")
            } else {
                part.to_owned()
            }
        })
        .collect()
}
