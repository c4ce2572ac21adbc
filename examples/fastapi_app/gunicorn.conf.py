"""gunicorn -c gunicorn.conf.py app:app"""

bind = "127.0.0.1:8000"
workers = 4
worker_class = "sharedmodel.client.web.worker.Worker"  # a reload (SIGHUP) loses no request
preload_app = False  # either way works: nothing is connected before a worker has its loop
timeout = 60
graceful_timeout = 30
accesslog = None
control_socket_disable = True
