//! A response as it grows: its items, and the events that tell of them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::ApiError;
use crate::api::replies::{Answer, Delta, Usage, scores_json};
use crate::engine::{End, Event, Finish, Scored};
use crate::random;
use crate::served::Served;
use crate::sse::{Frames, Writer};
use crate::tools::Call;

pub struct Output {
    served: Arc<Served>,
    answer: Answer,
    usage: Usage,
    /// The response without its items.
    response: Value,
    /// Items that are complete.
    items: Vec<Value>,
    message: Option<Message>,
    /// Scores of tokens whose text has not come yet.
    scored: Vec<Scored>,
    sequence: u64,
}

/// The message that grows.
struct Message {
    id: String,
    text: String,
    scores: Vec<Value>,
}

impl Message {
    fn part(&self) -> Value {
        json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": self.scores })
    }

    fn item(&self, status: &str, content: Value) -> Value {
        json!({ "type": "message", "id": self.id, "status": status, "role": "assistant", "content": content })
    }
}

impl Output {
    pub fn new(served: Arc<Served>, answer: Answer, response: Value, usage: Usage) -> Output {
        let (items, scored) = (Vec::new(), Vec::new());
        Output { served, answer, usage, response, items, message: None, scored, sequence: 0 }
    }

    pub fn response(&self) -> Value {
        let mut response = self.response.clone();
        response["output"] = self.items.clone().into();
        response
    }

    /// Sends an event; `fields` is an object.
    fn send(&mut self, kind: &str, mut fields: Value, out: &mut Frames) {
        fields["type"] = kind.into();
        fields["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        out.named(kind, &fields);
    }

    fn delta(&mut self, delta: Delta, out: &mut Frames) {
        match delta {
            Delta::Text(text) => self.text(&text, out),
            Delta::Call(call) => {
                self.close_message(out);
                self.call(&call, out);
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut Frames) {
        self.open_message(out);
        let scores = match scores_json(&self.served, &std::mem::take(&mut self.scored)) {
            Value::Array(scores) => scores,
            _ => Vec::new(),
        };
        let index = self.items.len();
        let Some(message) = &mut self.message else { return };
        message.text += text;
        message.scores.extend(scores.iter().cloned());
        let fields = json!({
            "item_id": message.id, "output_index": index, "content_index": 0, "delta": text, "logprobs": scores,
        });
        self.send("response.output_text.delta", fields, out);
    }

    fn open_message(&mut self, out: &mut Frames) {
        if self.message.is_some() {
            return;
        }
        let message = Message { id: random::id("msg_"), text: String::new(), scores: Vec::new() };
        let (index, id, part) = (self.items.len(), message.id.clone(), message.part());
        let item = message.item("in_progress", json!([]));
        self.message = Some(message);
        self.send("response.output_item.added", json!({ "output_index": index, "item": item }), out);
        let fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part });
        self.send("response.content_part.added", fields, out);
    }

    fn close_message(&mut self, out: &mut Frames) {
        let Some(message) = self.message.take() else { return };
        let (index, part) = (self.items.len(), message.part());
        let done = json!({
            "item_id": message.id, "output_index": index, "content_index": 0,
            "text": message.text, "logprobs": message.scores,
        });
        self.send("response.output_text.done", done, out);
        let fields = json!({ "item_id": message.id, "output_index": index, "content_index": 0, "part": part });
        self.send("response.content_part.done", fields, out);
        let item = message.item("completed", json!([part]));
        self.send("response.output_item.done", json!({ "output_index": index, "item": item }), out);
        self.items.push(item);
    }

    fn call(&mut self, call: &Call, out: &mut Frames) {
        let (index, id) = (self.items.len(), random::id("fc_"));
        let item = |status: &str, arguments: &str| {
            json!({
                "type": "function_call", "id": id, "call_id": call.id, "name": call.name,
                "arguments": arguments, "status": status,
            })
        };
        let added = json!({ "output_index": index, "item": item("in_progress", "") });
        self.send("response.output_item.added", added, out);
        let fields = json!({ "item_id": id, "output_index": index, "delta": call.arguments });
        self.send("response.function_call_arguments.delta", fields, out);
        let fields = json!({ "item_id": id, "output_index": index, "name": call.name, "arguments": call.arguments });
        self.send("response.function_call_arguments.done", fields, out);
        let done = item("completed", &call.arguments);
        self.send("response.output_item.done", json!({ "output_index": index, "item": done }), out);
        self.items.push(done);
    }

    fn complete(&mut self, end: &End, out: &mut Frames) {
        for delta in self.answer.finish() {
            self.delta(delta, out);
        }
        if self.items.is_empty() {
            // An empty answer is a message without text.
            self.open_message(out);
        }
        self.close_message(out);
        self.usage.add(end);
        let Usage { prompt, reused, new } = self.usage;
        self.response["usage"] = json!({
            "input_tokens": prompt,
            "input_tokens_details": { "cached_tokens": reused },
            "output_tokens": new,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": prompt + new,
        });
        self.response["status"] = match end.finish {
            Finish::Stop => "completed".into(),
            Finish::Length => {
                self.response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
                "incomplete".into()
            }
        };
    }
}

impl Writer for Output {
    fn begin(&mut self, out: &mut Frames) {
        for kind in ["response.created", "response.in_progress"] {
            let fields = json!({ "response": self.response() });
            self.send(kind, fields, out);
        }
    }

    fn event(&mut self, _: usize, event: Event, out: &mut Frames) {
        match event {
            Event::Piece { text, scored } => {
                self.scored.extend(scored);
                for delta in self.answer.push(text) {
                    self.delta(delta, out);
                }
            }
            Event::End(end) => self.complete(&end, out),
            Event::Prompt(_) | Event::Embedding(_) | Event::Failed(_) => {}
        }
    }

    fn end(&mut self, out: &mut Frames) {
        let kind = match self.response["status"].as_str() {
            Some("incomplete") => "response.incomplete",
            _ => "response.completed",
        };
        let fields = json!({ "response": self.response() });
        self.send(kind, fields, out);
    }

    fn error(&mut self, error: ApiError, out: &mut Frames) {
        let error = error.body()["error"].clone();
        self.response["status"] = "failed".into();
        self.response["error"] = json!({ "code": "server_error", "message": error["message"] });
        let fields = json!({ "response": self.response() });
        self.send("response.failed", fields, out);
    }
}
