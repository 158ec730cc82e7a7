//! What the scripted model answers, in the forms of the two interfaces that the agents speak: Anthropic's Messages and
//! OpenAI's Responses. It knows nothing of scenarios.

use serde_json::{Value, json};

/// What the model does next.
#[derive(Debug, Clone)]
pub enum Step {
    /// It says this, and the turn is over.
    Say(String),
    /// It has the agent run this command first.
    Run(String),
}

/// The content type and the body of an answer.
pub type Answer = (&'static str, String);

const STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

/// The answer to `POST /v1/messages`; `number` tells this call from others.
pub fn messages(request: &Value, step: &Step, number: usize) -> Answer {
    let (block, reason) = match step {
        Step::Say(text) => (json!({"type": "text", "text": text}), "end_turn"),
        Step::Run(command) => {
            let input = json!({"command": command, "description": "a step of the script"});
            (
                json!({"type": "tool_use", "id": format!("toolu_{number:04}"), "name": "Bash", "input": input}),
                "tool_use",
            )
        }
    };
    let mut message = json!({
        "id": format!("msg_{number:04}"), "type": "message", "role": "assistant", "model": request["model"],
        "content": [block], "stop_reason": reason, "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    });
    if request["stream"] != true {
        return (JSON, message.to_string());
    }
    let (empty, delta) = match step {
        Step::Say(text) => (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": text})),
        Step::Run(_) => {
            let whole = block["input"].to_string();
            let mut empty = block.clone();
            empty["input"] = json!({});
            (empty, json!({"type": "input_json_delta", "partial_json": whole}))
        }
    };
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    stream(&[
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": empty}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ])
}

/// The answer to `POST /v1/responses`.
pub fn responses(step: &Step, number: usize) -> Answer {
    let item = match step {
        Step::Say(text) => json!({
            "type": "message", "id": format!("msg_{number:04}"), "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }),
        Step::Run(command) => json!({
            "type": "function_call", "id": format!("fc_{number:04}"), "call_id": format!("call_{number:04}"),
            "name": "exec_command", "arguments": json!({"cmd": command, "yield_time_ms": 30_000}).to_string(),
        }),
    };
    let mut response =
        json!({"id": format!("resp_{number:04}"), "object": "response", "status": "in_progress", "output": []});
    let created = json!({"type": "response.created", "response": response});
    response["status"] = "completed".into();
    response["output"] = json!([item]);
    response["usage"] = json!({
        "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2,
    });
    stream(&[
        created,
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": response}),
    ])
}

/// The answer to everything else.
pub fn nothing() -> Answer {
    (JSON, json!({"input_tokens": 1, "data": [], "models": []}).to_string())
}

fn stream(events: &[Value]) -> Answer {
    let name = |event: &Value| event["type"].as_str().unwrap().to_owned();
    let lines = events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", name(event)));
    (STREAM, lines.collect())
}
