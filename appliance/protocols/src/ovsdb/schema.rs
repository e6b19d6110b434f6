//! What tables and columns a database has (the reply to `get_schema`; RFC 7047, section 3.2).

use serde_json::Value;

/// A database's schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    pub name: String,
    /// `x.y.z`.
    pub version: String,
    tables: Value,
}

/// The reply is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the description of the database cannot be understood")]
pub struct NotSchema;

impl Schema {
    /// Reads the reply.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(mut reply: Value) -> Result<Schema, NotSchema> {
        let text = |name: &str| reply.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(NotSchema);
        let (name, version) = (text("name")?, text("version")?);
        let tables = reply.get_mut("tables").map(Value::take).filter(Value::is_object).ok_or(NotSchema)?;
        Ok(Schema { name, version, tables })
    }

    /// Whether a table has a column.
    pub fn has(&self, table: &str, column: &str) -> bool {
        let columns = self.tables.get(table).and_then(|table| table.get("columns"));
        columns.and_then(|columns| columns.get(column)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn knows_its_columns() {
        let reply = json!({"name": "Open_vSwitch", "version": "8.3.1", "tables": {"Port": {"columns": {"tag": {}}}}});
        let schema = Schema::read(reply).expect("a schema");
        assert_eq!((schema.name.as_str(), schema.version.as_str()), ("Open_vSwitch", "8.3.1"));
        assert!(schema.has("Port", "tag"));
        assert!(!schema.has("Port", "tags") && !schema.has("Bridge", "tag"));
        for bad in [
            json!(null),
            json!([]),
            json!({}),
            json!({"name": 3, "version": "1"}),
            json!({"name": "a", "version": "1"}),
        ] {
            assert_eq!(Schema::read(bad), Err(NotSchema));
        }
    }
}
