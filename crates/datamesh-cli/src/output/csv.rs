//! Answers as comma-separated values (RFC 4180), made of what the JSON says.
//!
//! An answer that is a list, or has one that it is about, has a row for each of the list's items, under columns that
//! are always the same. Every other answer has a row for each of its values: their name and what they are.
//! What is within another has a name with a dot; items of a list have their number for a name there, and stand in
//! one cell, between semicolons, in a row of a list. No cell holds JSON.

use serde_json::Value;

use crate::error::{Stop, failed};

/// Writes answers that follow each other under one head.
#[derive(Debug, Default)]
pub(crate) struct Csv {
    /// The head is written.
    begun: bool,
}

impl Csv {
    /// A row for each item of `list`.
    ///
    /// # Errors
    /// [`Stop`] where they cannot be encoded.
    pub(crate) fn rows(&mut self, list: &[Value], columns: &[&str]) -> Result<String, Stop> {
        let row = |item: &Value| columns.iter().map(|name| cell(at(item, name))).collect();
        self.write(columns, list.iter().map(row))
    }

    /// A row for each value of an answer.
    ///
    /// # Errors
    /// [`Stop`] where they cannot be encoded.
    pub(crate) fn values(&mut self, answer: &Value) -> Result<String, Stop> {
        let mut rows = Vec::new();
        values(String::new(), answer, &mut rows);
        self.write(&["name", "value"], rows.into_iter().map(Vec::from))
    }

    fn write(
        &mut self,
        columns: &[&str],
        rows: impl Iterator<Item = Vec<String>>,
    ) -> Result<String, Stop> {
        let mut out = csv::Writer::from_writer(Vec::new());
        let wrong = |error: csv::Error| Stop::Failed(failed(error));
        if !self.begun {
            out.write_record(columns).map_err(wrong)?;
            self.begun = true;
        }
        for row in rows {
            out.write_record(row).map_err(wrong)?;
        }
        let bytes = out.into_inner().map_err(|error| Stop::Failed(failed(error)))?;
        String::from_utf8(bytes).map_err(|error| Stop::Failed(failed(error)))
    }
}

/// What an item has under a name with dots.
fn at<'a>(item: &'a Value, name: &str) -> &'a Value {
    name.split('.').try_fold(item, |value, name| value.get(name)).unwrap_or(&Value::Null)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(";"),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}={}", cell(value)));
            fields.collect::<Vec<_>>().join(" ")
        }
        value => value.to_string(),
    }
}

fn values(name: String, value: &Value, rows: &mut Vec<[String; 2]>) {
    let below = |inner: &str| match name.as_str() {
        "" => inner.to_owned(),
        name => format!("{name}.{inner}"),
    };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(field, value)| values(below(field), value, rows));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(at, item)| values(below(&at.to_string()), item, rows));
        }
        value => rows.push([name, cell(value)]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_has_a_row_for_each_item_under_columns_that_stay() {
        let list = [
            json!({"path": "a, \"b\"", "tags": ["x", "y"], "leases": {"days": null}, "size": 7}),
            json!({"path": "c", "leases": {"days": 3}, "detail": {"a": 1, "b": "two"}}),
        ];
        let columns = ["path", "tags", "leases.days", "detail"];
        let mut csv = Csv::default();
        let mut next = |list: &[Value]| csv.rows(list, &columns).unwrap_or_default();
        assert_eq!(next(&[]), "path,tags,leases.days,detail\n");
        assert_eq!(next(&list), "\"a, \"\"b\"\"\",x;y,,\nc,,3,a=1 b=two\n");
        assert_eq!(next(&[]), "");
    }

    #[test]
    fn other_answers_have_a_row_for_each_value() {
        let answer = json!({"a": 1, "b": {"c": true, "d": [{"e": "x"}, {"e": null}]}, "f": []});
        let rows = "name,value\na,1\nb.c,true\nb.d.0.e,x\nb.d.1.e,\n";
        assert_eq!(Csv::default().values(&answer).unwrap_or_default(), rows);
    }
}
