//! `GET /api/openapi.json`: the API described, its schemas taken from the types that are answered.

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use callfold_lead::{Disposition, Lead, Status};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Value, json};

use super::leads::compare::Comparison;
use super::leads::delete::Erasure;
use super::leads::events::Story;
use super::leads::list::LeadList;
use super::leads::patch::LeadChange;
use super::leads::reprocess::{ReprocessAnswer, ReprocessBody};
use crate::error::Problem;
use crate::sse::LeadNotice;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// The description.
pub(crate) async fn description() -> Response {
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        DOCUMENT.as_str(),
    )
        .into_response()
}

/// An OpenAPI 3.1 document.
fn document() -> Value {
    // OpenAPI 3.1 speaks the schema dialect 2020-12; only the place of definitions is its own.
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.contract = schemars::generate::Contract::Serialize;
    });
    let mut schemas = settings.into_generator();
    let paths = paths(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "callfold",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Leads made of phone messages. Errors are application/problem+json (RFC 9457).",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "CALLFOLD_API_TOKEN, or a token of `callfold token add`: scope read, write or erase" },
                "session": { "type": "apiKey", "in": "cookie", "name": crate::auth::SESSION_COOKIE },
            },
        },
    })
}

fn paths(schemas: &mut SchemaGenerator) -> Value {
    let of = |schema: schemars::Schema| schema.to_value();
    let lead = of(schemas.subschema_for::<Lead>());
    let list = of(schemas.subschema_for::<LeadList>());
    let story = of(schemas.subschema_for::<Story>());
    let comparison = of(schemas.subschema_for::<Comparison>());
    let change = of(schemas.subschema_for::<LeadChange>());
    let asked = of(schemas.subschema_for::<ReprocessBody>());
    let rerun = of(schemas.subschema_for::<ReprocessAnswer>());
    let notice = of(schemas.subschema_for::<LeadNotice<'static>>());
    let erasure = of(schemas.subschema_for::<Erasure>());
    let operation = of(schemas.subschema_for::<crate::operation::Operation>());
    let problem = of(schemas.subschema_for::<Problem>());
    let status = of(schemas.subschema_for::<Status>());
    let disposition = of(schemas.subschema_for::<Disposition>());

    let refusal = |what: &str| json!({ "description": what, "content": { "application/problem+json": { "schema": problem.clone() } } });
    let answers = |ok: Value, others: &[(&str, &str)]| {
        let mut answers = json!({
            "200": ok,
            "401": refusal("Neither a token nor a session."),
            "503": refusal("The database, the broker or the recordings cannot be reached; see Retry-After."),
        });
        for (status, what) in others {
            answers[*status] = match *status {
                "304" => json!({ "description": what }),
                _ => refusal(what),
            };
        }
        answers
    };
    let body = |what: &str, kind: &str, schema: &Value| {
        let mut content = serde_json::Map::new();
        content.insert(kind.to_owned(), json!({ "schema": schema }));
        json!({ "description": what, "content": content })
    };
    let header = |what: &str| json!({ "description": what, "schema": { "type": "string" } });
    let call_sid = parameter("call_sid", "path", "The call.", json!({ "type": "string" }));
    let recording_sid = parameter(
        "recording_sid",
        "path",
        "The recording.",
        json!({ "type": "string" }),
    );
    let none_match = parameter(
        "If-None-Match",
        "header",
        "The ETag that is known.",
        json!({ "type": "string" }),
    );
    let text = |name: &str, what: &str| parameter(name, "query", what, json!({ "type": "string" }));
    let number =
        |name: &str, what: &str| parameter(name, "query", what, json!({ "type": "integer", "minimum": 0 }));
    let mut statuses = parameter(
        "status",
        "query",
        "Any of these, separated by commas.",
        json!({ "type": "array", "items": status }),
    );
    statuses["explode"] = json!(false);
    let mut dispositions = parameter(
        "disposition",
        "query",
        "Any of these, separated by commas.",
        json!({ "type": "array", "items": disposition }),
    );
    dispositions["explode"] = json!(false);
    let filters = vec![
        statuses,
        dispositions,
        text("assignee", "Looked after by this person."),
        parameter(
            "seen",
            "query",
            "Looked at by a person, or not.",
            json!({ "type": "boolean" }),
        ),
        text(
            "q",
            "Words, each the beginning of a word of the numbers, the names, the topic, the transcript or the summary.",
        ),
        text("phone", "A number: +… exactly, digits by their end."),
        text(
            "from",
            "Created at this moment or later: RFC 3339, or a day of CALLFOLD_TIMEZONE.",
        ),
        text("to", "Created before this moment, or on this day or before."),
    ];
    let with_filters = |others: Vec<Value>| [filters.clone(), others].concat();
    let missing = ("404", "There is no such lead or recording.");
    let gone = ("410", "The call was erased.");
    let bad = ("400", "The query cannot be understood.");

    let mut lead_answer = body("The lead.", "application/json", &lead);
    lead_answer["headers"] = json!({ "ETag": header("The position of its last event, in quotes.") });
    let binary = json!({});
    let audio = json!({
        "description": "The audio.",
        "headers": { "Accept-Ranges": header("bytes"), "ETag": header("Stands for the content.") },
        "content": { "audio/x-wav": { "schema": binary }, "audio/mpeg": { "schema": binary } },
    });
    let mut audio_answers = answers(
        audio.clone(),
        &[
            missing,
            ("304", "It is the one that is known."),
            ("416", "Beyond its end."),
        ],
    );
    audio_answers["206"] = audio;
    let seen = parameter(
        "If-Match",
        "header",
        "The ETag of the lead that was seen, or *.",
        json!({ "type": "string" }),
    );
    let key = parameter(
        "Idempotency-Key",
        "header",
        "The same request with the same key is done once.",
        json!({ "type": "string", "maxLength": 200 }),
    );
    let conflict = ("409", "The lead as it is does not allow it.");
    let bad_body = ("400", "The body cannot be understood.");
    let mut changed = answers(
        lead_answer.clone(),
        &[bad_body, missing, conflict, ("428", "If-Match is missing.")],
    );
    changed["412"] = body("Somebody changed it: the newer lead.", "application/json", &lead);
    let mut reprocessed = answers(Value::Null, &[bad_body, missing, conflict]);
    reprocessed["202"] = body("Asked for.", "application/json", &rerun);
    reprocessed["412"] = body("Somebody changed it: the newer lead.", "application/json", &lead);
    if let Some(answers) = reprocessed.as_object_mut() {
        answers.remove("200");
    }
    json!({
        "/api/v1/leads": { "get": {
            "operationId": "listLeads",
            "summary": "Leads, newest first",
            "parameters": with_filters(vec![
                parameter("limit", "query", "How many at most.",
                    json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 50 })),
                text("cursor", "The next_cursor of the page before, with the same filter."),
            ]),
            "responses": answers(body("A page.", "application/json", &list), &[bad]),
        }},
        "/api/v1/leads.csv": { "get": {
            "operationId": "exportLeads",
            "summary": "Leads, newest first, as a table",
            "description": "UTF-8 with a byte order mark, lines end in CR LF. A cell that a spreadsheet would run or shorten has an apostrophe in front, and so has one that begins with an apostrophe: drop the first one.",
            "parameters": with_filters(vec![]),
            "responses": answers(body("The table; without its end when the database is lost on the way.", "text/csv", &json!({ "type": "string" })), &[bad]),
        }},
        "/api/v1/leads/{call_sid}": { "get": {
            "operationId": "getLead",
            "summary": "One lead, now or as it was at a moment",
            "parameters": [call_sid, none_match,
                text("at", "As it was then: when the stream ended at this position, or by this moment (RFC 3339). 404 when nothing was known of it.")],
            "responses": answers(lead_answer.clone(), &[bad, missing, gone, ("304", "It is the one that is known.")]),
        }, "patch": {
            "operationId": "changeLead",
            "summary": "One change by a person; undone by the same change with the value from before",
            "parameters": [call_sid, seen, key],
            "requestBody": { "required": true, "content": { "application/json": { "schema": change } } },
            "responses": changed,
        }, "delete": {
            "operationId": "eraseLead",
            "summary": "Erase the call: events, lead, audio, and the recording at Twilio",
            "parameters": [call_sid],
            "responses": {
                "202": body("It is hidden from now on; asked again, how far it is.", "application/json", &erasure),
                "401": refusal("Neither a token nor a session."),
                "404": refusal("There is no such call."),
                "503": refusal("The database or the broker cannot be reached; see Retry-After."),
            },
        }},
        "/api/v1/leads/{call_sid}/compare": { "get": {
            "operationId": "compareRuns",
            "summary": "What two runs made of a call, side by side",
            "parameters": [call_sid, number("a", "The one run; 0 is the first."), number("b", "The other one.")],
            "responses": answers(body("Both, and the difference.", "application/json", &comparison), &[bad, missing]),
        }},
        "/api/v1/leads/{call_sid}/reprocess": { "post": {
            "operationId": "reprocessLead",
            "summary": "Runs stages again",
            "parameters": [call_sid, seen, key],
            "requestBody": { "required": true, "content": { "application/json": { "schema": asked } } },
            "responses": reprocessed,
        }},
        "/api/v1/leads/{call_sid}/events": { "get": {
            "operationId": "getStory",
            "summary": "The events of a call, decoded and told in plain words",
            "parameters": [call_sid, number("after", "Only events behind this position: the next_after of the answer before.")],
            "responses": answers(body("The story.", "application/json", &story), &[bad, missing]),
        }},
        "/api/v1/leads/{call_sid}/recordings/{recording_sid}": { "get": {
            "operationId": "getRecording",
            "summary": "The audio of a recording, whole or in part",
            "parameters": [
                call_sid, recording_sid, none_match,
                parameter("Range", "header", "bytes=…", json!({ "type": "string" })),
                parameter("If-Range", "header", "The ETag that the part has to fit.", json!({ "type": "string" })),
            ],
            "responses": audio_answers,
        }},
        "/api/v1/events": { "get": {
            "operationId": "followLeads",
            "summary": "Live updates: `event: lead`, `id: <position>`, data as described",
            "parameters": [
                parameter("Last-Event-ID", "header", "The position to take up behind.", json!({ "type": "integer" })),
                number("last_event_id", "The same, where a header cannot be sent."),
            ],
            "responses": answers(body("Server-sent events.", "text/event-stream", &notice), &[bad]),
        }},
        "/api/v1/operation": { "get": {
            "operationId": "getOperation",
            "summary": "What waits, what failed and why, how long calls take, how full the stream is",
            "responses": answers(body("The last 30 days.", "application/json", &operation),
                &[("403", "The token's scope is read only: it takes write.")]),
        }},
        "/api/openapi.json": { "get": {
            "operationId": "getDescription",
            "summary": "This description",
            "responses": answers(body("OpenAPI 3.1.", "application/json", &json!({ "type": "object" })), &[]),
        }},
    })
}

fn parameter(name: &str, place: &str, what: &str, schema: Value) -> Value {
    json!({ "name": name, "in": place, "description": what, "required": place == "path", "schema": schema })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let described: BTreeSet<&str> = document["paths"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(path, _)| path.as_str())
            .collect();
        let routed: BTreeSet<&str> = super::super::api_routes().iter().map(|(path, _)| *path).collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn path_parameters_are_described_and_references_lead_somewhere() {
        let document = document();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                    assert!(
                        parameters.iter().any(|p| p["name"] == name && p["in"] == "path"),
                        "{method} {path} {name}"
                    );
                }
            }
        }
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.contains(&"#/components/schemas/Lead"), "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap_or_default();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
