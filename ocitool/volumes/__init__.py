"""`volume`: the volumes of an engine, listed, saved as artifacts, restored and compared.

In the direction of the data: `content` makes one tar of what an engine gives, `artifact` puts it into documents; `save`,
`restore`, `comparing` and `listing` are the commands.
"""
