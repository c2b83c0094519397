"""What everything else stands on: types, errors, protocol, records, configuration, suites. No torch."""
