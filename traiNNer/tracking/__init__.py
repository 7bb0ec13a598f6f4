"""What a run tells: log lines, JSON records, TensorBoard, tables and the report."""
