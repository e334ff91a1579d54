"""For which interface of the database this program was written: each connection says so, and `mecapy_serves` judges it.

db/functions/mecapy_serves.sql says when the number is raised.
"""

from sqlalchemy import text

INTERFACE = 4
CONNECT_OPTION = f"-c mecapy.interface={INTERFACE}"
NOT_SERVED = "MC001"  # the SQLSTATE with which a function refuses another program

SERVES = text("SELECT mecapy_serves()")
