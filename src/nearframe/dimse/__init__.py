"""DICOM's own protocol: the upper layer (PS3.8), messages (PS3.7), and the services spoken over them (PS3.4).

::

    bytes <-> PDUs          pdu, items        pure
    who may do what when    machine           the state table of PS3.8, pure
    which syntaxes          negotiation       pure
    commands                command, status   pure
    a connection            channel           the only module that touches a socket
    an association          association       messages in and out, with back-pressure
    what we answer          scp, scp_*        behind the same services as DICOMweb
    what we ask             scu, scu_*        for the command line, and for forwarding
    what goes on by rules   forward_*         durable until each peer has it
"""
