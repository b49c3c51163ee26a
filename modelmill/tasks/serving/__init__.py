"""What serving scripts share; it is shipped with them, see `modelmill.components.registration.served_code`."""
