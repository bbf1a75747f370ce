import { run } from './app'
import { Client } from './api/client'
import { StoredToken } from './api/token'
import { askToken } from './ui/dialog'

void run(new Client(new StoredToken(askToken)))
