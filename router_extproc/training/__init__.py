"""The workshop: makes the classifier's artefact from data, and measures it; only the command line comes in here.

Everything in this room needs the extra ``train``. A head's module ``training/<head>.py`` offers ``train(context)``, which
writes its files into ``context.out``; its ``training/<head>_report.py`` offers ``report(context, artefact)``. The order in
which they run stands in ``stages.py``.
"""
