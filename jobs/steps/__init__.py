"""Steps of the nightly job: pure functions from DataFrame to DataFrame."""
