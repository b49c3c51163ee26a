"""Which version is champion: state, rules, statistical comparison."""
