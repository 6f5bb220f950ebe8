"""Files exchanged with banks: a folder for each, filled by their SFTP, by ours, or by any other means."""
