"""The server's interface: what is asked, what is answered, who may."""
