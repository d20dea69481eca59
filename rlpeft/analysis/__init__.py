"""What can be measured about a model before choosing a geometry for its adapter."""
