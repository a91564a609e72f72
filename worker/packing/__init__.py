"""Request bodies: counted to the byte, filled from a lane's records, halved when a platform refuses them. No I/O."""
