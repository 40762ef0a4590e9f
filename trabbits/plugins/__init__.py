"""The built-in plugins; drop-in modules of others join them.

Any directory ``trabbits/plugins`` on ``sys.path`` that is no package of its own (no ``__init__.py``) may hold more.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
