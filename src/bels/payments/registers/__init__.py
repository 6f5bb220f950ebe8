"""Files of payments, from banks and to banks: layouts as data, a file taken whole or not at all, its rows one by one."""
