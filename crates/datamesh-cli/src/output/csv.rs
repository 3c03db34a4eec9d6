//! Answers as comma-separated values (RFC 4180), made of what the JSON says.
//!
//! An answer that is a list has a row for each of its objects; of an answer with lists in it, the first one that
//! is a list of objects gives the rows; an answer without one is one row. Fields within fields have
//! names with dots, lists within a row are joined by semicolons. The first row names the columns.

use serde_json::{Map, Value};

use crate::error::{Stop, failed};

/// Writes answers that follow each other under one head.
#[derive(Debug, Default)]
pub(crate) struct Csv {
    columns: Vec<String>,
    /// The head is written.
    begun: bool,
}

impl Csv {
    /// Has these columns, whatever the first answer has.
    pub(crate) fn set_columns(&mut self, columns: &[&str]) {
        self.columns = columns.iter().map(|name| (*name).to_owned()).collect();
    }

    /// The rows of an answer, under a head if they are the first.
    ///
    /// # Errors
    /// [`Stop`] where they cannot be encoded.
    pub(crate) fn rows(&mut self, answer: &Value) -> Result<String, Stop> {
        let rows: Vec<Map<String, Value>> = rows(answer).into_iter().map(flat).collect();
        if self.columns.is_empty() {
            for name in rows.iter().flat_map(Map::keys) {
                if !self.columns.contains(name) {
                    self.columns.push(name.clone());
                }
            }
        }
        let mut out = csv::Writer::from_writer(Vec::new());
        let wrong = |error: csv::Error| Stop::Failed(failed(error));
        if !self.begun && !self.columns.is_empty() {
            out.write_record(&self.columns).map_err(wrong)?;
            self.begun = true;
        }
        for row in &rows {
            let cells =
                self.columns.iter().map(|name| row.get(name).map_or_else(String::new, cell));
            out.write_record(cells).map_err(wrong)?;
        }
        let bytes = out.into_inner().map_err(|error| Stop::Failed(failed(error)))?;
        String::from_utf8(bytes).map_err(|error| Stop::Failed(failed(error)))
    }
}

fn objects(value: &Value) -> Option<Vec<&Map<String, Value>>> {
    value.as_array()?.iter().map(Value::as_object).collect()
}

fn rows(answer: &Value) -> Vec<&Map<String, Value>> {
    if let Some(list) = objects(answer) {
        return list;
    }
    let Some(answer) = answer.as_object() else { return Vec::new() };
    answer.values().find_map(objects).unwrap_or_else(|| vec![answer])
}

/// A row without objects in it.
fn flat(row: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in row {
        match value {
            Value::Object(inner) => {
                let inner = flat(inner).into_iter();
                out.extend(inner.map(|(below, value)| (format!("{name}.{below}"), value)));
            }
            value => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    out
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(";"),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn csv(answer: &Value) -> String {
        Csv::default().rows(answer).unwrap_or_default()
    }

    #[test]
    fn the_first_list_of_objects_gives_the_rows() {
        let answer = json!({
            "more": false,
            "names": ["not", "objects"],
            "files": [
                {"path": "a, \"b\"", "size": 7, "tags": ["x", "y"], "leases": {"days": null}},
                {"path": "c", "size": 8, "note": "later"},
            ],
            "failed": [{"path": "d"}],
        });
        let expected = "path,size,tags,leases.days,note\n\"a, \"\"b\"\"\",7,x;y,,\nc,8,,,later\n";
        assert_eq!(csv(&answer), expected);
    }

    #[test]
    fn an_answer_without_a_list_is_one_row_and_an_empty_list_is_none() {
        assert_eq!(csv(&json!({"a": 1, "b": {"c": true}})), "a,b.c\n1,true\n");
        assert_eq!(csv(&json!({"files": [], "more": false})), "");
        assert_eq!(csv(&json!([{"x": "y"}])), "x\ny\n");
    }

    #[test]
    fn answers_that_follow_each_other_have_one_head() {
        let mut csv = Csv::default();
        let mut next = |answer: &Value| csv.rows(answer).unwrap_or_default();
        assert_eq!(next(&json!([])), "");
        assert_eq!(next(&json!([{"a": 1}])), "a\n1\n");
        assert_eq!(next(&json!([{"b": 3, "a": 2}])), "2\n");
    }
}
