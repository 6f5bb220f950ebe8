"""Files exchanged with banks while a process serves: our SFTP server, their servers looked at, watched folders."""
