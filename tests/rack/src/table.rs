//! The table of seconds per step and node.

use std::time::Duration;

/// The seconds of one node: the steps in their order.
#[derive(Debug, Clone, Default)]
pub struct Column {
    pub node: String,
    pub steps: Vec<(&'static str, Duration)>,
}

impl Column {
    /// An empty column.
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), steps: Vec::new() }
    }

    fn seconds(&self, step: &str) -> Option<f64> {
        self.steps.iter().find(|(name, _)| *name == step).map(|(_, duration)| duration.as_secs_f64())
    }
}

/// The lines of the table: a row per step, a column per node, and the sums.
pub fn render(columns: &[Column]) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for (step, _) in columns.iter().flat_map(|column| &column.steps) {
        if !steps.contains(step) {
            steps.push(step);
        }
    }
    let first = steps.iter().map(|step| step.len()).max().unwrap_or(0).max(4);
    let mut text = format!("{:<first$}", "step");
    for column in columns {
        text += &format!("  {:>8}", column.node);
    }
    text += "\n";
    let cell = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
    for step in steps {
        text += &format!("{step:<first$}");
        for column in columns {
            text += &format!("  {:>8}", cell(column.seconds(step)));
        }
        text += "\n";
    }
    text += &format!("{:<first$}", "sum");
    for column in columns {
        let sum = column.steps.iter().map(|(_, duration)| duration.as_secs_f64()).sum();
        text += &format!("  {:>8}", cell(Some(sum)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_rows_and_nodes_are_columns() {
        let seconds = |tenths: u64| Duration::from_millis(tenths * 100);
        let columns = [
            Column { node: "node0".into(), steps: vec![("enrol", seconds(2)), ("deploy", seconds(301))] },
            Column { node: "node1".into(), steps: vec![("enrol", seconds(3))] },
        ];
        let expected = "step       node0     node1\n\
                        enrol      0.2 s     0.3 s\n\
                        deploy    30.1 s         -\n\
                        sum       30.3 s     0.3 s";
        assert_eq!(render(&columns), expected);
    }
}
